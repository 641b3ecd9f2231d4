"""The images: small, without root, with a health check."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from prometheus_client import CollectorRegistry

from models.process.health import Health
from models.process.probes import REVISION_VARIABLE, serve
from tests.deploy.deployment import (
    DEPLOY,
    DOCKERFILES,
    METRICS_PORT,
    ROOT,
    compose_file,
    final_stage,
    image_environment,
    instructions,
    pod_specs,
)

#: What only training needs.
HEAVY = {"torch", "scikit-learn", "lightgbm", "onnx", "weir"}

image = pytest.mark.parametrize("dockerfile", DOCKERFILES.values(), ids=DOCKERFILES)


@image
def test_runs_as_a_fixed_user_without_root(dockerfile: Path) -> None:
    """The image's last user is a number other than root's, made in the image itself."""
    found = final_stage(dockerfile)
    user = [each.value for each in found if each.name == "USER"][-1]
    assert user == "10001:10001"
    assert any("useradd --uid 10001" in each.value for each in found if each.name == "RUN")


def test_cluster_runs_as_the_user_of_the_image() -> None:
    """Every pod names the user id that the images' folders belong to."""
    for name, spec in pod_specs():
        security = spec["securityContext"]
        ids = (security["runAsUser"], security["runAsGroup"], security["fsGroup"])
        assert (name, *ids, security["runAsNonRoot"]) == (name, 10001, 10001, 10001, True)


@image
def test_names_no_registry(dockerfile: Path) -> None:
    """Bases are slim, and neither bases nor packages name the host that they come from."""
    bases = [each.value.split()[0] for each in instructions(dockerfile) if each.name == "FROM"]
    assert set(bases) == {"python:3.11-slim"}
    assert not re.search(r"https?://|index-url [^.]|--from=[\w.-]+/", dockerfile.read_text())


@image
def test_copies_only_what_exists_and_is_not_ignored(dockerfile: Path) -> None:
    """Each COPY from the context finds a file that .dockerignore lets through."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    copies = [each for each in instructions(dockerfile) if each.name == "COPY"]
    sources = [
        source
        for each in copies
        if not each.value.startswith("--from")
        for source in each.value.split()[:-1]
    ]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name.rstrip("*") for name in settings["packages"]["find"]["include"]}
    assert {"pyproject.toml", *packages} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if source not in kept] == []


@pytest.mark.parametrize(
    ("image", "extra"), [("weir-worker", "'.[sign]'"), ("weir-trainer", "'.[train,sign]'")]
)
def test_installs_the_constrained_versions(image: str, extra: str) -> None:
    """Dependencies are installed once, under constraints; the sources bring none of their own."""
    runs = [each.value for each in instructions(DOCKERFILES[image]) if "pip install" in each.value]
    assert len(runs) == 2
    assert runs[0].endswith(f"--constraint constraints.txt {extra}")
    assert "--no-deps" in runs[1].split()
    assert runs[1].endswith(" .")


def test_worker_needs_nothing_that_only_training_needs() -> None:
    """Without extras, the distribution requires neither torch nor its company."""
    needed = [Requirement(text) for text in requires("weir") or []]
    core = {
        each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})
    }
    assert "aiokafka" in core
    assert core & HEAVY == set()


@image
def test_starts_weir_itself(dockerfile: Path) -> None:
    """The image's process is `weir`, so that its SIGTERM reaches it without a shell between."""
    found = {each.name: each.value for each in final_stage(dockerfile)}
    assert found["ENTRYPOINT"] == '["weir"]'
    assert found["CMD"] in {'["worker"]', '["trainer"]'}


def test_folders_of_the_settings_are_made_writable() -> None:
    """Every folder under which compose mounts a volume is made in the images, for their user."""
    for service in compose_file()["services"].values():
        dockerfile = DOCKERFILES.get(service["image"].split(":")[0])
        if dockerfile is not None:
            made = [each.value for each in final_stage(dockerfile) if "install --dir" in each.value]
            for volume in service.get("volumes", []):
                assert volume.split(":")[1] in made[0]


def health(port: str) -> tuple[int, str]:
    """Exit status and message of the images' health check against ``port``."""
    command = [sys.executable, str(DEPLOY / "healthcheck.py")]
    environment = {**os.environ, "METRICS_PORT": port}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_health_check_is_readiness() -> None:
    """It succeeds where a process is ready, and fails with the reason where it is not."""
    state = Health("worker", ["model"])
    port = str(serve(CollectorRegistry(), state, "127.0.0.1", 0))
    assert health(port) == (1, "model: not yet\n")
    state.met("model")
    assert health(port) == (0, "")
    assert health("1")[0] == 1
    assert health("")[0] == 1


@pytest.mark.parametrize(
    ("image", "variable"),
    [
        ("weir-worker", "WEIR_WORKER__METRICS_PORT"),
        ("weir-trainer", "WEIR_TRAINER__METRICS_PORT"),
    ],
)
def test_health_check_asks_where_the_image_serves(image: str, variable: str) -> None:
    """An image checks its health with the script, on the port that it serves and exposes."""
    found = {each.name: each.value for each in final_stage(DOCKERFILES[image])}
    assert '"/opt/weir/bin/healthcheck.py"' in found["HEALTHCHECK"]
    environment = image_environment(image)
    assert environment[variable] == environment["METRICS_PORT"] == METRICS_PORT
    assert found["EXPOSE"] == METRICS_PORT


@image
def test_build_fails_without_the_scanner(dockerfile: Path) -> None:
    """After the last installation, outside of the sources, the extension itself is imported."""
    found = [each for each in instructions(dockerfile) if each.stage == 0]
    installed = max(i for i, each in enumerate(found) if "pip install" in each.value)
    compilers = [i for i, each in enumerate(found) if "install --yes" in each.value]
    assert compilers
    assert all(word in found[compilers[0]].value for word in ("gcc", "libc6-dev"))
    workdir, check = found[installed + 1 : installed + 3]
    assert (workdir.name, workdir.value) == ("WORKDIR", "/")
    assert check.value == '/opt/weir/bin/python -c "from models.features import _scan"'


@image
def test_image_knows_its_revision(dockerfile: Path) -> None:
    """A build argument becomes the variable that weir_build_info reads."""
    arguments = [each.value for each in final_stage(dockerfile) if each.name == "ARG"]
    assert f'{REVISION_VARIABLE}=""' in arguments
    variables = " ".join(each.value for each in final_stage(dockerfile) if each.name == "ENV")
    assert f"{REVISION_VARIABLE}=${REVISION_VARIABLE}" in variables
