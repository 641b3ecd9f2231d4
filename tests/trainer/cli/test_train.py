import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from models.artifact import load_artifact
from models.artifact.scorer import Scorer
from models.data.examples import example_schema
from models.errors import UserError
from models.settings import SettingsError
from models.tasks import DEFAULT_TASKS
from stream.cli.main import build_app


def test_a_quick_run_on_simulated_traffic_gives_an_artifact(tmp_path: Path) -> None:
    """One command makes a folder that loads, scores and says how good it is."""
    out = tmp_path / "artifact"
    command = ["train", "--simulated", "6000", "--quick", "--seed", "3", "--out", str(out)]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 0, result.output
    artifact = load_artifact(out)
    Scorer(artifact).warm_up()
    assert artifact.tasks == DEFAULT_TASKS
    assert artifact.manifest.version in result.output
    assert artifact.manifest.seed == 3
    assert artifact.manifest.training.unlabelled_rows == 6000
    click = artifact.manifest.metrics.student["click"].auc_roc
    assert click is not None
    assert click > 0.55


def test_teacher_and_uncertainty_are_options(tmp_path: Path) -> None:
    """Both stand in the manifest; one that does not exist is refused before anything is read."""
    out = tmp_path / "artifact"
    command = ["train", "--simulated", "2000", "--quick", "--teacher", "mmoe", "--out", str(out)]
    wrong = CliRunner().invoke(build_app(), [*command, "--uncertainty", "confirmd"])
    assert isinstance(wrong.exception, SettingsError)
    assert "confirmd" in str(wrong.exception)
    assert not out.exists()
    result = CliRunner().invoke(build_app(), [*command, "--uncertainty", "confirmed"])
    assert result.exit_code == 0, result.output
    config = load_artifact(out).manifest.config
    assert config["net"]["kind"] == "mmoe"
    assert config["uncertainty"] == "confirmed"


def test_a_strange_checkpoint_is_refused(tmp_path: Path) -> None:
    """A checkpoint of another job ends the command with the way out, and nothing is trained."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "job.json").write_text('{"seed": 4}')
    command = ["train", "--simulated", "1000", "--checkpoint", str(tmp_path / "checkpoint")]
    result = CliRunner().invoke(build_app(), [*command, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, UserError)  # `weir` prints it once and ends with status 2
    assert "belongs to another job" in str(result.exception)
    assert "belongs to another job" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("sources", [[], ["--simulated", "1000", "--examples", "x.parquet"]])
def test_exactly_one_source_is_needed(tmp_path: Path, sources: list[str]) -> None:
    """Without a source, or with two, the command says which options there are."""
    result = CliRunner().invoke(build_app(), ["train", "--out", str(tmp_path), *sources])
    assert result.exit_code == 2
    assert "--examples, --simulated, --jd or --csv" in " ".join(result.output.split())


def test_bad_examples_end_the_command_with_their_fault(tmp_path: Path) -> None:
    """A store that cannot be learned from is one line that names the file, and no artifact."""
    path = tmp_path / "empty.parquet"
    pl.DataFrame(schema=example_schema(DEFAULT_TASKS)).write_parquet(path)
    out = tmp_path / "out"
    command = ["train", "--examples", str(path), "--out", str(out)]
    result = CliRunner().invoke(build_app(), command)
    assert isinstance(result.exception, UserError)
    assert "empty.parquet" in str(result.exception)
    assert "empty.parquet" not in result.output
    assert not out.exists()


def test_the_command_line_does_not_import_torch() -> None:
    """Other commands never pay for what training needs."""
    code = (
        "import sys, stream.cli.main; stream.cli.main.build_app(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
