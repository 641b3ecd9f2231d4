"""Every container's command line and environment are ones that `weir` itself accepts."""

from pathlib import Path

import pytest

from models.settings import Settings, SettingsError, load_settings
from tests.deploy.deployment import METRICS_PORT, SETTINGS, WeirProcess, parse


def settings_of(process: WeirProcess, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Settings:
    """The settings that `process` runs with; its settings file is looked up in the repository."""
    monkeypatch.chdir(folder)
    for variable, value in process.weir_variables.items():
        monkeypatch.setenv(variable, value)
    config = parse(process.arguments)[0].params["config"]
    return load_settings(SETTINGS[str(config)] if config else None)


def test_command_line_is_accepted(process: WeirProcess) -> None:
    """The arguments of a container name a subcommand of `weir` and options that it has."""
    contexts = parse(process.arguments)
    assert len(contexts) == 2
    assert contexts[-1].info_name in {"topics", "worker", "trainer"}


def test_image_fits_the_command(process: WeirProcess) -> None:
    """The trainer runs in the image with torch, everything else in the one without."""
    command = parse(process.arguments)[-1].info_name
    assert process.image == ("weir-trainer" if command == "trainer" else "weir-worker")


def test_environment_is_accepted(
    process: WeirProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each WEIR_ variable is a setting, and the brokers, folders and port are the deployment's."""
    assert all("__" in variable for variable in process.weir_variables)
    settings = settings_of(process, monkeypatch, tmp_path)
    assert settings.kafka.bootstrap != Settings().kafka.bootstrap
    assert settings.kafka.partitions > 1
    assert settings.model.registry == "/srv/weir/registry"
    assert settings.trainer.store == "/srv/weir/examples"


def test_metrics_are_reachable_from_other_containers(
    process: WeirProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Metrics are served on all addresses of a container, on the known port."""
    settings = settings_of(process, monkeypatch, tmp_path)
    for command, section in (("worker", settings.worker), ("trainer", settings.trainer)):
        if command in process.arguments:
            assert (section.metrics_host, str(section.metrics_port)) == ("0.0.0.0", METRICS_PORT)


def test_status_finds_every_service(
    process: WeirProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Wherever `weir status` is run in a deployment, it asks workers, feedback and trainer."""
    endpoints = settings_of(process, monkeypatch, tmp_path).status.endpoints
    hosts = {endpoint.rpartition(":")[0].removeprefix("weir-") for endpoint in endpoints}
    assert hosts == {"worker", "feedback", "trainer"}
    assert {endpoint.rpartition(":")[2] for endpoint in endpoints} == {METRICS_PORT}


def test_metrics_stay_at_home_by_default() -> None:
    """Only a deployment's configuration opens the metrics endpoint to other machines."""
    assert Settings().worker.metrics_host == "127.0.0.1"
    assert Settings().trainer.metrics_host == "127.0.0.1"


@pytest.mark.parametrize("variable", ["WEIR_KAFKA__BOOTSTRAPS", "WEIR_KAFKAS__BOOTSTRAP"])
def test_misspelt_variable_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above would notice a variable that no setting answers to."""
    monkeypatch.setenv(variable, "kafka:9092")
    with pytest.raises(SettingsError, match=r"(?i)kafka"):
        load_settings()
