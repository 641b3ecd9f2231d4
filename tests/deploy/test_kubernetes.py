"""The Kubernetes manifests agree with each other and with the images."""

from typing import Any

import yaml

from models.settings import load_settings
from stream.kafka.rights import feedback_group
from tests.deploy.deployment import (
    DEPLOY,
    DOCKERFILES,
    METRICS_PORT,
    image_environment,
    manifests,
    pod_specs,
)

KUSTOMIZATION = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())


def of_kind(kind: str) -> list[dict[str, Any]]:
    """The manifests of one kind."""
    return [manifest for manifest in manifests() if manifest["kind"] == kind]


def templates() -> dict[str, dict[str, Any]]:
    """Name of a Deployment -> its pod template."""
    return {each["metadata"]["name"]: each["spec"]["template"] for each in of_kind("Deployment")}


def test_every_file_is_in_the_kustomization() -> None:
    """No manifest is forgotten."""
    names = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert names == {*KUSTOMIZATION["resources"], "kustomization.yaml"}


def test_volumes_are_there() -> None:
    """What is mounted is a volume, and a volume is a folder, or a map or claim that is defined."""
    maps = {each["name"] for each in KUSTOMIZATION["configMapGenerator"]}
    claims = {each["metadata"]["name"] for each in of_kind("PersistentVolumeClaim")}
    used = set()
    for _, spec in pod_specs():
        volumes = {volume.pop("name"): volume for volume in spec["volumes"]}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            elif "persistentVolumeClaim" in volume:
                used.add(volume["persistentVolumeClaim"]["claimName"])
            else:
                assert set(volume["emptyDir"]) == {"sizeLimit"}
    assert used == claims


def test_trainer_alone_writes_the_registry() -> None:
    """Workers mount what the trainer publishes, at the same path, and cannot change it."""
    mounts = {
        name: {
            mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]
        }
        for name, spec in pod_specs()
        for container in spec["containers"]
    }
    registry = load_settings(DEPLOY / "kubernetes" / "weir.toml").model.registry
    assert mounts["weir-worker"][registry] is True
    assert mounts["weir-trainer"][registry] is False


def test_images_are_ours_and_versioned() -> None:
    """Pods run images that this repository builds, and the kustomization pins their version."""
    versions = {each["name"]: each["newTag"] for each in KUSTOMIZATION["images"]}
    used = {each["image"] for _, spec in pod_specs() for each in spec["containers"]}
    assert used == set(versions) == set(DOCKERFILES)
    assert "latest" not in versions.values()


def test_selectors_find_their_pods() -> None:
    """Deployment, disruption budget, autoscaler and spread all mean pods that exist."""
    labels = {name: template["metadata"]["labels"] for name, template in templates().items()}
    for deployment in of_kind("Deployment"):
        name = deployment["metadata"]["name"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels[name]
    for budget in of_kind("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] == labels["weir-worker"]
    spread = templates()["weir-worker"]["spec"]["topologySpreadConstraints"][0]
    assert spread["labelSelector"]["matchLabels"] == labels["weir-worker"]


def test_autoscaler_owns_the_workers_and_stops_at_the_partitions() -> None:
    """It scales the workers, whose manifest leaves the number open, to at most one a partition."""
    (autoscaler,) = of_kind("HorizontalPodAutoscaler")
    spec = autoscaler["spec"]
    assert spec["scaleTargetRef"]["name"] == "weir-worker"
    (worker,) = [
        each for each in of_kind("Deployment") if each["metadata"]["name"] == "weir-worker"
    ]
    assert "replicas" not in worker["spec"]
    partitions = load_settings(DEPLOY / "kubernetes" / "weir.toml").kafka.partitions
    assert 2 <= spec["minReplicas"] < spec["maxReplicas"] <= partitions
    assert "cpu" in worker["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]


def test_probes_and_scraping_ask_the_metrics_port() -> None:
    """Probes ask whether a process lives or is ready, on the port that Prometheus scrapes."""
    assert templates().keys() == {"weir-worker", "weir-feedback", "weir-trainer"}
    for template in templates().values():
        container = template["spec"]["containers"][0]
        probes = {key: container[key]["httpGet"] for key in container if key.endswith("Probe")}
        assert probes == {
            "startupProbe": {"path": "/live", "port": "metrics"},
            "readinessProbe": {"path": "/ready", "port": "metrics"},
            "livenessProbe": {"path": "/live", "port": "metrics"},
        }
        assert container["ports"] == [{"name": "metrics", "containerPort": int(METRICS_PORT)}]
        assert template["metadata"]["annotations"]["prometheus.io/port"] == METRICS_PORT


def component(folder: str, name: str) -> dict[str, Any]:
    """A manifest of a component, which its kustomization lists."""
    path = DEPLOY / "kubernetes" / folder
    assert name in yaml.safe_load((path / "kustomization.yaml").read_text())["resources"]
    found: dict[str, Any] = yaml.safe_load((path / name).read_text())
    return found


def pod_names() -> set[str]:
    """The name label of every pod."""
    return {
        each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for each in (*of_kind("Deployment"), *of_kind("Job"))
    }


def test_lag_scales_as_the_cpu_does() -> None:
    """KEDA reads the group's lag on the requests, and keeps to the bounds of what it replaces."""
    scaled = component("keda", "scaledobject.yaml")["spec"]
    (autoscaler,) = of_kind("HorizontalPodAutoscaler")
    settings = load_settings(DEPLOY / "kubernetes" / "weir.toml")
    assert scaled["scaleTargetRef"]["name"] == autoscaler["spec"]["scaleTargetRef"]["name"]
    assert scaled["minReplicaCount"] == autoscaler["spec"]["minReplicas"]
    assert scaled["maxReplicaCount"] == autoscaler["spec"]["maxReplicas"]
    trigger = scaled["triggers"][0]["metadata"]
    assert trigger["bootstrapServers"] == settings.kafka.bootstrap
    assert trigger["consumerGroup"] == settings.kafka.group
    assert trigger["topic"] == settings.topics.requests
    replaced = yaml.safe_load((DEPLOY / "kubernetes" / "keda" / "kustomization.yaml").read_text())
    (patch,) = [yaml.safe_load(each["patch"]) for each in replaced["patches"]]
    assert (patch["kind"], patch["$patch"]) == ("HorizontalPodAutoscaler", "delete")
    assert patch["metadata"] == autoscaler["metadata"]


def test_feedback_scales_by_the_lag_of_its_own_group() -> None:
    """KEDA reads what passed, and keeps at least the replicas of the deployment."""
    scaled = component("keda", "feedback.yaml")["spec"]
    settings = load_settings(DEPLOY / "kubernetes" / "weir.toml")
    (feedback,) = [
        each for each in of_kind("Deployment") if each["metadata"]["name"] == "weir-feedback"
    ]
    assert scaled["scaleTargetRef"]["name"] == feedback["metadata"]["name"]
    assert scaled["minReplicaCount"] == feedback["spec"]["replicas"]
    (trigger,) = [each["metadata"] for each in scaled["triggers"]]
    assert trigger["bootstrapServers"] == settings.kafka.bootstrap
    assert trigger["consumerGroup"] == feedback_group(settings)
    assert trigger["topic"] == settings.topics.passed


def test_monitor_finds_every_pod_that_has_metrics() -> None:
    """All but the job that makes topics, by the port that they name."""
    monitor = component("monitoring", "podmonitor.yaml")["spec"]
    (labels,) = monitor["selector"]["matchExpressions"]
    assert set(labels["values"]) == pod_names() - {"weir-topics"}
    assert [each["port"] for each in monitor["podMetricsEndpoints"]] == ["metrics"]


def test_network_is_closed_but_for_what_is_needed() -> None:
    """Every pod is meant; in by the metrics port, out to Kafka, names and an object store."""
    (policy,) = of_kind("NetworkPolicy")
    (labels,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert set(labels["values"]) == pod_names()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    (way_in,) = policy["spec"]["ingress"]
    assert [port["port"] for port in way_in["ports"]] == [int(METRICS_PORT)]
    kafka = int(load_settings(DEPLOY / "kubernetes" / "weir.toml").kafka.bootstrap.split(":")[1])
    assert any(
        port["port"] <= kafka <= port.get("endPort", port["port"])
        for rule in policy["spec"]["egress"]
        for port in rule["ports"]
    )


def test_status_reads_every_pod_that_has_metrics() -> None:
    """Each endpoint is a headless service of one deployment's pods, which may be connected to."""
    settings = load_settings(DEPLOY / "kubernetes" / "weir.toml")
    assert set(settings.status.endpoints) == {f"{name}:{METRICS_PORT}" for name in templates()}
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind("Service")}
    assert services.keys() == templates().keys()
    for name, spec in services.items():
        assert spec["clusterIP"] == "None"
        assert spec["publishNotReadyAddresses"] is True
        assert spec["selector"] == templates()[name]["metadata"]["labels"]
        (port,) = spec["ports"]
        assert (port["port"], port["targetPort"]) == (int(METRICS_PORT), "metrics")
    (policy,) = of_kind("NetworkPolicy")
    (rule,) = [each for each in policy["spec"]["egress"] if "to" in each]
    ((pods,),) = [to["podSelector"]["matchExpressions"] for to in rule["to"]]
    assert set(pods["values"]) == set(services)
    assert [port["port"] for port in rule["ports"]] == [int(METRICS_PORT)]


def test_as_many_workers_are_expected_as_the_autoscaler_keeps() -> None:
    """The alert on missing workers knows the least number of replicas."""
    (autoscaler,) = of_kind("HorizontalPodAutoscaler")
    expected = load_settings(DEPLOY / "kubernetes" / "weir.toml").worker.expected
    assert expected == autoscaler["spec"]["minReplicas"]


def test_trainer_lays_rows_out_on_its_scratch() -> None:
    """TMPDIR is a mounted folder that its ephemeral storage has room for."""
    container = templates()["weir-trainer"]["spec"]["containers"][0]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts[image_environment("weir-trainer")["TMPDIR"]] == "scratch"


def test_pods_have_no_rights_that_they_do_not_need() -> None:
    """Read-only root, no capability, no escalation, no service account token, bounded memory."""
    for _, spec in pod_specs():
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()
