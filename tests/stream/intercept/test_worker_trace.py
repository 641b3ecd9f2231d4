"""A worker that writes a trace: every request in it, no time lost, and a table of it."""

from itertools import pairwise
from pathlib import Path

import pytest

from models.settings import Settings
from stream.trace.otlp import read
from stream.trace.span import Span
from stream.trace.tracer import CHUNK
from tests.stream.cli.process import output_of, weir
from tests.stream.intercept.test_worker import publish, until, worker

pytestmark = pytest.mark.broker


async def test_every_chunk_is_traced_and_its_phases_are_its_life(
    settings: Settings, tmp_path: Path
) -> None:
    """As many requests as were filtered; the phases of a chunk add up to its span."""
    path = tmp_path / "trace.jsonl"
    mine = settings.override(
        {"worker.trace": str(path), "model.artifact": str(tmp_path / "no model")}
    )
    await publish(mine, 0, 1000)
    async with worker(mine, tmp_path) as (child, port):
        await until(child, port, lambda sample: sample.requests == 1000)
        await child.stop()
    spans = list(read(path))
    roots = [span for span in spans if span.name == CHUNK]
    assert sum(int(root.attributes["messaging.batch.message_count"]) for root in roots) == 1000
    for root in roots:
        phases = [span for span in spans if span.parent_id == root.span_id]
        assert sum(phase.ms for phase in phases) == pytest.approx(root.ms, abs=0.001)
        assert _in_order(phases)
        assert {"fetch wait", "queue", "read", "route", "Produce"} <= {one.name for one in phases}
    assert {"kafka Fetch", "kafka Produce"} <= {span.name for span in spans}
    output = output_of(weir(tmp_path, "trace", "summary", str(path)), status=0)
    assert "1,000 requests in" in output
    assert "mean ms" in output
    assert "kafka Produce" in output


def _in_order(phases: list[Span]) -> bool:
    """Whether each phase begins where the one before it ends, to the microsecond."""
    return all(abs(after.start_ns - before.end_ns) < 1000 for before, after in pairwise(phases))
