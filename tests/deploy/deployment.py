"""The files of `deploy/` and `docker-compose.yml` as Python objects."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
import yaml
from typer.core import TyperGroup

from stream.cli.main import build_app

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
#: Image name -> the Dockerfile that makes it.
DOCKERFILES = {
    "weir-worker": DEPLOY / "worker.Dockerfile",
    "weir-trainer": DEPLOY / "trainer.Dockerfile",
}
#: Port of the metrics endpoint wherever Weir runs in a container.
METRICS_PORT = "9464"
#: Where the cluster mounts the settings -> where they are in the repository.
SETTINGS = {"/etc/weir/weir.toml": DEPLOY / "kubernetes" / "weir.toml"}


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile; ``stage`` counts its FROM lines."""

    stage: int
    name: str
    value: str


@dataclass(frozen=True)
class WeirProcess:
    """A container that runs `weir`: where it is configured, its arguments and environment."""

    source: str
    image: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    definition: Mapping[str, Any] = field(repr=False)

    @property
    def weir_variables(self) -> dict[str, str]:
        """What of the environment is meant for Weir, the image's included."""
        both = {**image_environment(self.image), **self.environment}
        return {name: value for name, value in both.items() if name.startswith("WEIR_")}


def instructions(dockerfile: Path) -> list[Instruction]:
    """The instructions of a Dockerfile, continuation lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    found, stage = [], -1
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, value = line.split(maxsplit=1)
            stage += name == "FROM"
            found.append(Instruction(stage, name, value))
    return found


def final_stage(dockerfile: Path) -> list[Instruction]:
    """The instructions of the stage that becomes the image."""
    found = instructions(dockerfile)
    return [each for each in found if each.stage == found[-1].stage]


def image_environment(image: str) -> dict[str, str]:
    """The ENV of one of our images."""
    pairs = [
        pair
        for each in final_stage(DOCKERFILES[image])
        if each.name == "ENV"
        for pair in shlex.split(each.value)
    ]
    return dict(pair.split("=", 1) for pair in pairs)


def manifests() -> list[dict[str, Any]]:
    """Every Kubernetes object that the kustomization lists."""
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    return [
        document
        for name in kustomization["resources"]
        for document in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())
    ]


def pod_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and pod spec of everything that runs in the cluster."""
    for manifest in manifests():
        if "template" in manifest.get("spec", {}):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def compose_file() -> dict[str, Any]:
    """The compose file, anchors and merges resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def weir_processes() -> list[WeirProcess]:
    """Everything that runs one of our images, in compose and in Kubernetes."""
    found = []
    for name, service in compose_file()["services"].items():
        image = service["image"].split(":")[0]
        if image in DOCKERFILES:
            arguments, environment = tuple(service["command"]), service["environment"]
            found.append(WeirProcess(f"compose:{name}", image, arguments, environment, service))
    for name, spec in pod_specs():
        for container in spec["containers"]:
            environment = {each["name"]: each.get("value", "x") for each in container["env"]}
            arguments, image = tuple(container["args"]), container["image"]
            found.append(WeirProcess(f"k8s:{name}", image, arguments, environment, container))
    return found


def parse(arguments: tuple[str, ...]) -> list[typer.Context]:
    """Parse as `weir` does, subcommand by subcommand, without running anything."""
    command, name, rest = typer.main.get_command(build_app()), "weir", list(arguments)
    contexts: list[typer.Context] = []
    while True:
        parent = contexts[-1] if contexts else None
        contexts.append(command.make_context(name, rest, parent=parent))
        if not isinstance(command, TyperGroup):
            return contexts
        left = [*contexts[-1]._protected_args, *contexts[-1].args]
        name, command, rest = command.resolve_command(contexts[-1], left)
