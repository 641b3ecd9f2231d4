"""The threshold and the debt of a live worker's decision, from its journal."""

from pathlib import Path

import pytest

from models.settings import Settings
from stream.explain.explanation import ExplainOptions, explain
from stream.kafka.reader import read_topic
from stream.messages import Decision, Reason
from stream.reproduce.player import NotReproducibleError
from tests.stream.control.workers import until
from tests.stream.reproduce.fleet import change, journaled, publish, worker, written
from tests.tiny_artifact import Make

pytestmark = pytest.mark.broker
OPTIONS = ExplainOptions(history=True, pairs=1)


async def some_ids(live: Settings, least: int) -> dict[str, str]:
    """A request with each verdict and reason, of those numbered from ``least`` on."""
    found: dict[str, str] = {}
    for topic in (live.topics.passed, live.topics.blocked):
        async for record in read_topic(live.kafka, topic):
            if int(record.key) >= least:
                reason = Decision.from_headers(record.headers).reason.label
                found[f"{topic} {reason}"] = f"r{int(record.key)}"
    return found


async def test_a_live_decision_is_reproduced_with_its_threshold(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Four partitions, a change of the rate, the own states merged: what a replay cannot know."""
    live = journaled(settings, make_artifact())
    async with worker(live, tmp_path, "one") as (child, port):
        await publish(live, 0, 1_000)
        await until(child, port, lambda sample: sample.requests >= 1_000)
        await change(live, "*", {"rate": 0.7})
        await until(child, port, lambda _: "revision 0 is in force" in child.log.read_text())
        await publish(live, 1_000, 1_000)
        await written(live, 2_000)
        await child.stop()
    ids = await some_ids(live, 1_500)
    assert {key.split()[1] for key in ids} == {
        reason.label for reason in Reason if reason is not Reason.FAIL_OPEN
    }
    for request_id in ids.values():
        found = await explain(live, request_id, OPTIONS)
        assert found.reproduced, found.checks
        assert found.replayed is not None
        assert len(found.replayed.worker) == 32
        assert found.replayed.requests + found.replayed.rejected >= 1_000
        assert {check.name for check in found.checks} >= {"threshold", "reason", "verdict"}
        assert not found.missing
    other = live.override({"topics.requests": live.topics.outcomes})
    with pytest.raises(NotReproducibleError, match="requests were decided, 0 are there"):
        await explain(other, next(iter(ids.values())), OPTIONS)
