"""A decision explained as a whole: from topics and from files, with and without its history."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from aiokafka import AIOKafkaProducer
from rich.console import Console

from models.data.examples import example_schema
from models.data.request_files import FileRecord
from models.features import FeatureSpec
from models.settings import Settings
from stream.explain.as_json import as_json
from stream.explain.explanation import ExplainOptions, Explanation, explain
from stream.explain.screen import show
from stream.explain.search import ExplainError
from stream.kafka.client import client_options
from tests.stream.explain.decided import Log, decide, request, tiny_settings
from tests.tiny_artifact import SPEC_TEXT, TASKS, Make


async def publish(settings: Settings, log: Log) -> None:
    producer = AIOKafkaProducer(**client_options(settings.kafka))
    await producer.start()
    try:
        for records in (log.requests, log.passed, log.blocked, log.rejected):
            for record in records:
                await producer.send(
                    record.topic, record.value, record.key, record.partition, record.timestamp,
                    list(record.headers),
                )  # fmt: skip
        await producer.flush()
    finally:
        await producer.stop()


def printed(found: Explanation) -> str:
    screen = io.StringIO()
    show(Console(file=screen, width=160), found, everything=True)
    return screen.getvalue()


def id_of(record: FileRecord) -> str:
    return str(orjson.loads(record.value or b"")["id"])


@pytest.mark.broker
async def test_logged_decisions_are_reproduced_bit_for_bit_with_threshold_and_debt(
    settings: Settings, make_artifact: Make
) -> None:
    """Requests that passed, explored, were blocked, passed directly; after their whole history."""
    mine = tiny_settings(settings, make_artifact(), rate=0.5)
    hostile = request(500, site={"id": "\x1b[31mred\x00 [bold]"})
    log = decide(mine, [*(request(n) for n in range(120)), b'{"id":"dead"}', hostile])
    await publish(mine, log)
    by_reason = {}
    for record in [*log.passed, *log.blocked]:
        reason = orjson.loads(record.headers[-1][1])["reason"]
        by_reason[reason, record.topic] = record
    assert len(by_reason) == 4
    for record in by_reason.values():
        found = await explain(mine, id_of(record), ExplainOptions(history=True, pairs=2))
        assert found.reproduced is True, found.checks
        assert {check.name for check in found.checks} >= {"e", "threshold", "propensity", "verdict"}
        assert found.missing == []
        assert found.replayed is not None
        assert abs(found.replayed.debt) <= 13.5
        assert as_json(found)["reproduced"] is True
    found = await explain(mine, "r500", ExplainOptions(pairs=2))
    text = printed(found)
    assert "\x1b[31m" not in text
    assert "\\u001b[31mred" in text
    assert "debt: --history" in "".join(found.missing)
    dead = await explain(mine, "dead", ExplainOptions())
    assert (dead.verdict, dead.reproduced) == ("reject", True)
    assert "missing-imp" in printed(dead)
    with pytest.raises(ExplainError, match="nobody: no such request among"):
        await explain(mine, "nobody", ExplainOptions())


@pytest.mark.broker
async def test_another_history_is_said_to_be_another_one(
    settings: Settings, make_artifact: Make
) -> None:
    """The first sixty requests were others; and a topic that has lost the request says that."""
    mine = tiny_settings(settings, make_artifact(), direct_share=0.0, explore=0.0)
    log = decide(mine, [request(n) for n in range(80)])
    record = log.blocked[-1]
    others = [each._replace(value=request(1000, site={})) for each in log.requests[:60]]
    await publish(mine, Log([*others, *log.requests[60:]], [], [record], []))
    found = await explain(mine, id_of(record), ExplainOptions(history=True, pairs=1))
    checks = {check.name: check for check in found.checks}
    assert (found.reproduced, checks["e"].equal, checks["threshold"].equal) == (None, True, False)
    assert "the replayed history is not the one" in " ".join(found.missing)
    gone = mine.override({"topics.requests": mine.topics.examples})
    found = await explain(gone, id_of(record), ExplainOptions(history=True, pairs=1))
    assert (found.reproduced, found.replayed) == (True, None)
    assert "the source of the requests does not have this one" in " ".join(found.missing)


def examples(path: Path, spec: FeatureSpec, ids: list[list[int]]) -> Path:
    rows: dict[str, Any] = {name: [None] * len(ids) for name in example_schema(_tasks())}
    rows |= {
        "request_id": [str(n) for n in range(len(ids))],
        "ts": list(range(len(ids))),
        "spec": [spec.hash] * len(ids),
        "features": ids,
        "label_click": [1] * len(ids),
        "label_online": [0] * len(ids),
        "propensity": [1.0] * len(ids),
    }
    pl.DataFrame(rows, schema=example_schema(_tasks())).write_parquet(path)
    return path


def _tasks() -> Any:
    return Settings(tasks=[task.model_dump() for task in TASKS]).task_set  # type: ignore[call-arg]


async def test_a_file_without_decisions_is_decided_up_to_the_request(
    make_artifact: Make, tmp_path: Path
) -> None:
    """No broker, no log: the verdict, threshold and debt are those of a replay of the file."""
    mine = tiny_settings(Settings(), make_artifact())
    file = tmp_path / "requests.jsonl"
    file.write_bytes(b"\n".join(request(n) for n in range(100)))
    log = decide(mine, [request(n) for n in range(100)])
    record = log.blocked[-1]
    store = examples(
        tmp_path / "examples.parquet", FeatureSpec.parse(SPEC_TEXT, "test"), [[1, 8, 8], [2, 8, 8]]
    )
    options = ExplainOptions((str(file),), store=store, pairs=1)
    found = await explain(mine, id_of(record), options)
    assert (found.verdict, found.reproduced) == ("block", None)
    assert found.replayed is not None
    logged = orjson.loads(record.headers[-1][1])
    assert f"{found.replayed.threshold:.9g}" == f"{logged['threshold']:.9g}"
    assert found.training is not None
    assert found.training.rows == 2
    live = tmp_path / "store"
    (live / "examples" / "_delta_log").mkdir(parents=True)
    with pytest.raises(ExplainError, match="whose rows get labels when a rebuild joins them"):
        await explain(mine, id_of(record), replace(options, store=live))
    content = orjson.loads(orjson.dumps(as_json(found)))
    e = content["attribution"]["outputs"]["e"]
    assert sum(f["path"] for f in e["features"]) == pytest.approx(e["value"] - e["baseline"])
    assert content["features"][0]["name"] == "site"
    assert "training rows like it" in printed(found)
    assert "nothing was logged" in printed(found)


async def test_bytes_that_are_no_bid_request_any_more_are_a_clear_line(
    make_artifact: Make, tmp_path: Path
) -> None:
    """A record that is longer than what is read now is named with its place."""
    mine = tiny_settings(Settings(), make_artifact())
    file = tmp_path / "requests.jsonl"
    long = request(1, ext={"padding": "x" * 2000})
    file.write_bytes(long + b"\n" + long)
    with pytest.raises(ExplainError, match=r"r1: occurs 2 times, at requests.jsonl\[0\]@0"):
        await explain(mine, "r1", ExplainOptions((str(file),)))
    found = await explain(
        mine, "r1", ExplainOptions((str(file),), at="requests.jsonl[0]@1", pairs=1)
    )
    assert found.found.record.offset == 1
    small = mine.override({"worker.max_value_bytes": 1024})
    with pytest.raises(ExplainError, match="no such request"):
        await explain(small, "r1", ExplainOptions((str(file),)))
