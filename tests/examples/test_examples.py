"""The scripts in examples/ run as their first lines say, and print what they promise."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.features import FeatureSpec
from trainer.simulation.simulator import Simulator
from trainer.traffic.examples import write_examples, write_requests

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
#: Of each script, what its output must contain.
PROMISED = {
    "extract": r"openrtb\.toml: 108 features[^\n]*\n.*site_id",
    "score": r"1000 scored, 0 not\n.*click: score 0\.\d+, uncertainty 0\.\d+",
    "decide": r"target 0\.8, achieved 0\.(79|80)\d+\n.*SCORE: \d+ passed, \d+ blocked",
    "replay": r"rate 0\.6: achieved 0\.(59|60)\d*\nrate 0\.8: achieved 0\.(79|80)",
    "record": r"\d{3} of 1000 requests passed, \d{3,} events of these",
    "compare": r"\d+ of 1000 decisions differ\ndeals against base: .*\n",
    "read_store": r"1000 examples of 121 columns\n.*click: 1000 labels, 0\.\d+ positive",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands in the scripts' first lines write."""
    made = tmp_path_factory.mktemp("examples")
    (made / "var").mkdir()
    simulator = Simulator(1, 0.0)
    write_requests(simulator, 1000, made / "var" / "requests.jsonl", 0)
    spec = FeatureSpec.load("openrtb")
    write_examples(simulator, 1000, made / "var" / "examples.parquet", spec, 0)
    names = ("requests.jsonl", "examples.parquet", "log.jsonl")
    command = [str(ROOT / "examples" / "record.py"), *(f"var/{name}" for name in names)]
    subprocess.run([sys.executable, *command], cwd=made, check=True, capture_output=True)
    return made


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_runs(script: Path, folder: Path) -> None:
    """The command in its docstring prints what is expected of it."""
    (arguments,) = re.findall(rf"python examples/{script.name}(.*)", script.read_text())
    done = subprocess.run(
        [sys.executable, str(script), *arguments.split()],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(PROMISED[script.stem], done.stdout), done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_without_its_file_prints_how_to_run_it(script: Path, tmp_path: Path) -> None:
    """An example that reads a file prints its own first lines; one that does not just runs."""
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if "sys.argv" not in script.read_text():
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1
    assert f"python examples/{script.name} " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_of_the_api_shows_every_example() -> None:
    """docs/api.md links each script."""
    page = (ROOT / "docs" / "api.md").read_text()
    linked = set(re.findall(r"\]\(\.\./examples/(\w+)\.py\)", page))
    assert linked == {script.stem for script in SCRIPTS} == set(PROMISED)
