"""The compose file: valid, self-contained, and not reachable from outside."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.deploy.deployment import DOCKERFILES, ROOT, compose_file, image_environment

SCHEMA = json.loads(Path(__file__).with_name("compose.schema.json").read_text())


@pytest.fixture
def compose() -> dict[str, Any]:
    """The compose file."""
    return compose_file()


def faults(document: dict[str, Any]) -> list[str]:
    """What the schema has against ``document``."""
    found = Draft202012Validator(SCHEMA).iter_errors(document)
    return [f"{fault.json_path}: {fault.message}" for fault in found]


def test_follows_the_specification(compose: dict[str, Any]) -> None:
    """Every key and value is one that the compose specification knows."""
    assert faults(compose) == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("worker", "commands", ["worker"]),
        ("worker", "environment", {"WEIR_KAFKA__PARTITIONS": 8}),
        ("worker", "depends_on", {"kafka": {"condition": "healthy"}}),
        ("kafka", "ports", ["9092:9092"]),
        ("kafka", "stop_grace_period", "60"),
        ("topics", "restart", "on-failures"),
        ("grafana", "image", "grafana/grafana"),
    ],
)
def test_schema_refuses(compose: dict[str, Any], service: str, key: str, value: object) -> None:
    """The schema sees a misspelt key, a wrong type, an open port, an image without version."""
    compose["services"][service][key] = value
    assert len(faults(compose)) == 1


def test_dependencies_can_be_met(compose: dict[str, Any]) -> None:
    """Who waits for another's health or end waits for a service that has one."""
    services = compose["services"]
    for service in services.values():
        for name, dependency in service.get("depends_on", {}).items():
            other = services[name]
            if dependency["condition"] == "service_healthy":
                assert "test" in other["healthcheck"]
            if dependency["condition"] == "service_completed_successfully":
                assert other["restart"].startswith("on-failure")


def test_files_and_volumes_exist(compose: dict[str, Any]) -> None:
    """Mounted files are in the repository, named volumes are declared, and all are used."""
    sources = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    files = {source for source in sources if source.startswith("./")}
    assert [source for source in files if not (ROOT / source).exists()] == []
    assert sources - files == set(compose["volumes"])


def test_builds_are_our_dockerfiles(compose: dict[str, Any]) -> None:
    """A service that is built is built from the Dockerfile of its image, from the root."""
    built = {
        service["image"].split(":")[0]: service["build"]
        for service in compose["services"].values()
        if "build" in service
    }
    assert set(built) == set(DOCKERFILES)
    for image, build in built.items():
        assert build["context"] == "."
        assert ROOT / build["dockerfile"] == DOCKERFILES[image]


def test_workers_have_partitions_and_time_to_drain(compose: dict[str, Any]) -> None:
    """Two workers share the partitions, and SIGTERM leaves them longer than they need to stop."""
    worker = compose["services"]["worker"]
    partitions = int(worker["environment"]["WEIR_KAFKA__PARTITIONS"])
    assert 2 <= worker["deploy"]["replicas"] <= partitions
    assert worker["stop_grace_period"] == "30s"


def test_clients_reach_kafka_by_the_names_that_it_advertises(compose: dict[str, Any]) -> None:
    """Inside, by its host name; from the host, by the loopback port that is published."""
    path = ROOT / "deploy" / "kafka" / "server.properties"
    pairs = [line.split("=", 1) for line in path.read_text().splitlines() if "=" in line[1:]]
    properties = {key: value for key, value in pairs if not key.startswith("#")}
    advertised = dict(each.split("://") for each in properties["advertised.listeners"].split(","))
    listeners = dict(each.split("://") for each in properties["listeners"].split(","))
    kafka = compose["services"]["kafka"]
    for name in ("topics", "worker", "feedback", "trainer"):
        environment = compose["services"][name]["environment"]
        assert environment["WEIR_KAFKA__BOOTSTRAP"] == advertised["INTERNAL"]
    assert advertised["INTERNAL"] == kafka["hostname"] + listeners["INTERNAL"]
    assert kafka["ports"] == [advertised["HOST"] + listeners["HOST"]]
    assert f"localhost{listeners['INTERNAL']}" in kafka["healthcheck"]["test"][1]
    log_dirs = properties["log.dirs"]
    assert f"kafka:{log_dirs}" in kafka["volumes"]


def test_logs_are_rotated_and_memory_is_bounded(compose: dict[str, Any]) -> None:
    """No service fills the disk with its log, or takes memory from the others."""
    for name, service in compose["services"].items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory"} == set(limits)
        if name != "topics":
            assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        for mount in service.get("tmpfs", []):
            assert "size=" in mount


def test_trainer_lays_rows_out_on_a_disk(compose: dict[str, Any]) -> None:
    """Its TMPDIR is a volume: a tmpfs would count against the memory that the rebuild needs."""
    scratch = image_environment("weir-trainer")["TMPDIR"]
    trainer = compose["services"]["trainer"]
    assert f"scratch:{scratch}" in trainer["volumes"]
    assert not any(mount.startswith(scratch) for mount in trainer["tmpfs"])


def test_as_many_workers_are_expected_as_there_are(compose: dict[str, Any]) -> None:
    """The alert on missing workers knows the number of replicas."""
    worker = compose["services"]["worker"]
    assert worker["environment"]["WEIR_WORKER__EXPECTED"] == str(worker["deploy"]["replicas"])
