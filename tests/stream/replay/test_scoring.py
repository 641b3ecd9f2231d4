"""The scoring stage: a process that ends is a clear error, and values are found by their paths."""

import os
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.artifact.registry import Registry
from models.features.path import Path as RequestPath
from models.settings import Settings
from stream.replay.records import LinesBlock
from stream.replay.scoring import PieceScorer, ScoringPlan, text_at
from stream.replay.stages import InProcesses, ScoringStageError
from tests.tiny_artifact import Make


def plan(artifact: Path) -> ScoringPlan:
    files = Registry.of(Settings().model).fetch_configured(str(artifact))
    return ScoringPlan((files,), 1, 512, 100_000, 10, by=("site.id",))


DATA = b"".join(
    orjson.dumps({"id": f"r{i}", "imp": [{}], "site": {"id": i}}) + b"\n" for i in range(25)
)


@pytest.mark.slow
async def test_a_process_that_ends_is_named(make_artifact: Make) -> None:
    """What was scored before is right; the rest is an error that says what to do."""
    made = plan(make_artifact())
    here = PieceScorer(made).score(LinesBlock(DATA), None)
    with InProcesses(made, 1) as stage:
        there = await stage.submit(LinesBlock(DATA), None)
        assert there.frame.equals(here.frame)
        (process,) = stage._pool._processes
        os.kill(process, signal.SIGKILL)
        with pytest.raises(ScoringStageError, match="a scoring process ended"):
            await stage.submit(LinesBlock(DATA), None)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("site.id", "7"),
        ("imp[0].bidfloor", "0.5"),
        ("imp[1].bidfloor", None),
        ("imp[*].tagid", "second"),
        ("native{}.ver", "1.2"),
        ("broken{}.ver", None),
        ("site.id.more", None),
        ("absent", None),
        ("site", None),
    ],
)
def test_values_are_found_by_their_paths(path: str, text: str | None) -> None:
    """Whole numbers without a fraction; of several values the first; no text for an object."""
    request: dict[str, Any] = {
        "site": {"id": 7.0},
        "imp": [{"bidfloor": 0.5}, {"tagid": "second"}, {"tagid": "third"}],
        "native": '{"ver":"1.2"}',
        "broken": "{",
    }
    assert text_at(request, RequestPath.parse(path).steps) == text
