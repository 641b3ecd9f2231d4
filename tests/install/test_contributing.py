"""CONTRIBUTING.md is true: its examples, added to a copy of the sources, pass its commands."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from models.settings import load_settings
from stream.policy import Policy
from tests.installed import ROOT, copy_sources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()


def blocks(language: str) -> list[str]:
    """The guide's code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[str]:
    """The arguments of every command of a program in the guide's shell blocks."""
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line.removeprefix(program).strip() for line in lines if line.startswith(program)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources and tests, with the guide's examples added to them."""
    folder = tmp_path_factory.mktemp("contributing")
    copy_sources(folder, "tests")
    for block in blocks("python"):
        path = folder / block.partition("\n")[0].removeprefix("# ")
        assert not path.exists(), f"{path}: the guide adds a file that is there"
        path.write_text(block.partition("\n")[2])
    for block in blocks("toml"):
        if block.startswith("# trial.toml\n"):
            (folder / "trial.toml").write_text(block)
    for block in blocks("diff"):
        patch(folder, block)
    return folder


def patch(folder: Path, diff: str) -> None:
    """Apply a diff whose hunks are found by their context, which must be there once."""
    head, *hunks = re.split(r"^@@.*\n", diff, flags=re.MULTILINE)
    name, _, first = head.partition("\n")
    path = folder / name.removeprefix("+++ b/")
    text = path.read_text()
    for hunk in filter(None, (first, *hunks)):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(old) == 1, f"{name}: this is not there once:\n{old}"
        text = text.replace(old, "".join(line[1:] for line in lines if line[0] != "-"))
    path.write_text(text)


def run(folder: Path, *arguments: str) -> str:
    """Run Python in the copy; it must end with status 0."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_addition_is_a_file_and_a_registry_line() -> None:
    """Each example adds one new file, and to one other file nothing but lines."""
    assert len(blocks("python")) == len(blocks("diff")) == 3
    for block in blocks("diff"):
        assert block.count("+++ b/") == 1
        assert not re.search("^-", block, re.MULTILINE)


def test_examples_pass_lint_and_the_shared_checks(copy: Path) -> None:
    """`make test` with the arguments of the guide finds tests of what was added, and they pass."""
    added = [block.partition("\n")[0].removeprefix("# ") for block in blocks("python")]
    run(copy, "-m", "ruff", "check", *added)
    run(copy, "-m", "ruff", "format", "--check", *added)
    shared = [shlex.split(found)[0] for found in commands("make test") if " -k " in found]
    assert len(shared) == 2
    for arguments in shared:
        words = arguments.removeprefix("ARGS=").split()
        said = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=0", *words)
        assert re.search(r"^\d+ passed", said, re.MULTILINE), said


def test_examples_train_an_artifact(copy: Path) -> None:
    """`weir train` with the new kind, teacher and uncertainty writes an artifact of all three."""
    (training,) = [found for found in commands("weir") if found.startswith("train ")]
    code = "import sys; from stream.cli.main import main; sys.exit(main())"
    quick = ("--set=training.teacher.min_steps=60", "--set=training.distillation.min_steps=60")
    said = run(copy, "-c", code, *quick, *shlex.split(training))
    assert "wrote var/trial, version " in said
    assert '"present"' in (copy / "var" / "trial" / "features.toml").read_text()
    manifest = (copy / "var" / "trial" / "manifest.json").read_text()
    assert '"kind":"dcn"' in manifest.replace(" ", "")
    assert '"uncertainty":"standard_error"' in manifest.replace(" ", "")


def test_settings_of_the_guide_make_a_policy(tmp_path: Path) -> None:
    """The new task is one, and the reward is an expression of the tasks."""
    (toml,) = [block for block in blocks("toml") if block.startswith("[[tasks]]")]
    (tmp_path / "weir.toml").write_text(toml)
    settings = load_settings(tmp_path / "weir.toml")
    assert settings.task_set.names == ("click", "install")
    policy = Policy(settings.policy, settings.task_set)
    assert policy.in_force["*"].reward == "click * install * 12 + 0.1 * click"


def test_every_room_is_in_the_table() -> None:
    """The table of rooms names each folder of the roots, and no other."""
    table = GUIDE.partition("## The rooms")[2].partition("## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\S+)`", cell)}
    rooms = {
        path.parent.relative_to(ROOT).as_posix()
        for root in ("stream", "models", "trainer")
        for path in (ROOT / root).glob("*/__init__.py")
    }
    assert named == rooms | {"weir"}


def test_hooks_run_the_checks_of_make() -> None:
    """The hooks of pre-commit are the commands of `make check`, with nothing to download."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].removesuffix(" --force-exclude") in makefile
        assert shutil.which(Path(hook["entry"].split()[0]).name, path=Path(sys.executable).parent)
