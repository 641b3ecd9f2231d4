"""The Kubernetes manifests agree with each other and with the images."""

from typing import Any

import yaml
from deployment import DEPLOY, DOCKERFILES, METRICS_PORT, manifests, pod_specs

from models.settings import load_settings

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
                assert volume == {"emptyDir": {}}
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
    """Probes and Prometheus ask the one named port; only the trainer serves no metrics."""
    for name, template in templates().items():
        container = template["spec"]["containers"][0]
        probes = [container[key] for key in container if key.endswith("Probe")]
        annotations = template["metadata"].get("annotations", {})
        if name == "weir-trainer":
            assert (probes, annotations) == ([], {})
            continue
        assert container["ports"] == [{"name": "metrics", "containerPort": int(METRICS_PORT)}]
        assert {probe["httpGet"]["port"] for probe in probes} == {"metrics"}
        assert len(probes) == 3
        assert annotations["prometheus.io/port"] == METRICS_PORT


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
            assert "memory" in container["resources"]["limits"]
