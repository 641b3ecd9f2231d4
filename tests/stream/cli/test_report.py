"""`weir report` as a whole process."""

from pathlib import Path

import pytest

from tests.stream.cli.process import output_of, weir
from tests.stream.report.replays import TASKS, write_replay

SETTINGS = "".join(
    f'[[tasks]]\nname = "{task.name}"\nwindow_s = {task.window_s}\n' for task in TASKS
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weir.toml").write_text(SETTINGS)
    write_replay(tmp_path / "out", rows=2000, outcomes=False)
    return tmp_path


def test_the_verdict_is_printed_and_both_files_are_written(folder: Path) -> None:
    """Status 0 without conditions, or where none holds."""
    output = output_of(weir(folder, "report", "out", "--fail-if", "passed > 50"), status=0)
    assert output.startswith("b against base: not enough evidence. Without outcomes")
    assert "ok   b: passed > 50: 0 is not > 50" in output
    assert (folder / "out" / "report.html").stat().st_size > 10_000
    assert (folder / "out" / "report.json").is_file()


@pytest.mark.parametrize(
    ("condition", "status", "words"),
    [
        ("differ > 1", 1, "FAIL b: differ > 1"),
        ("deal.kept < -0.5", 1, "not known, which fails: no outcomes were given"),
        ("deal.kept", 2, "write FIGURE < NUMBER"),
    ],
)
def test_a_condition_decides_the_status(
    folder: Path, condition: str, status: int, words: str
) -> None:
    """1 where one holds or cannot be judged, 2 where it cannot be read."""
    output = output_of(weir(folder, "report", "out", "--fail-if", condition), status=status)
    assert words in output


def test_a_folder_of_something_else_is_refused(folder: Path) -> None:
    """The message names the folder and what to run."""
    output = output_of(weir(folder, "report", "."), status=2)
    assert "summary.json is missing" in output
