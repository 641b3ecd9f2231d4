"""The decision writer never mixes the decisions of two replays."""

from pathlib import Path

import pytest

from models.tasks import TaskSet
from stream.replay.decision_writer import DecisionFolderError, DecisionWriter
from tests.tiny_artifact import TASKS


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    """The error names the remedy; a new folder is made with its parents."""
    DecisionWriter(tmp_path / "new" / "out", TaskSet(TASKS))
    with pytest.raises(DecisionFolderError, match="not empty; give --out a new folder"):
        DecisionWriter(tmp_path, TaskSet(TASKS))
