"""Training examples: each field is typed and bounded."""

import re

import orjson
import pytest

from stream.messages import Decision, Reason, RecordError, TrainingExample


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"features": [2**31]}, "features[0]"),
        ({"features": [-1]}, "features[0]"),
        ({"features": [1.5]}, "features[0]"),
        ({"weight": 0.5}, "weight"),
        ({"weight": 10_001}, "weight"),
        ({"scenario": -1}, "scenario"),
        ({"scenario": 2**31}, "scenario"),
        ({"scenario": "shop"}, "scenario"),
        ({"ts": 2**62}, "ts"),
        ({"decision": {"e": "x"}}, "decision"),
    ],
)
def test_an_example_is_typed_and_bounded(change: dict[str, object], field: str) -> None:
    """An example with one wrong value is refused for that field."""
    decision = Decision("m", 0.1, 0.2, Reason.SCORE, 1.0, 7)
    sound = TrainingExample("a", 1, "s", [1], decision)
    with pytest.raises(RecordError, match=re.escape(f"training example.{field}")):
        TrainingExample.from_bytes(orjson.dumps({**orjson.loads(sound.to_bytes()), **change}))
