"""Replay: the same requests give the same decisions, wherever they come from and however cut."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from aiokafka import AIOKafkaProducer
from polars.testing import assert_frame_equal

from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.times import TimeError
from stream.messages import Decision, Outcome, Reason, sequence_header
from stream.messages.headers import SEQUENCE_HEADER
from stream.replay.folder import ReplayFolder
from stream.replay.replay import ReplayError, ReplayOptions, run_replay
from stream.transport import ChunkSink, Outgoing
from tests.tiny_artifact import TASKS, Make

START_MS = 1_700_000_000_000


def tiny(settings: Settings, artifact: Path) -> Settings:
    policy = {
        "rate": 0.4,
        "weights": {"click": 1.0, "online": 3.0},
        "uncertainty_source": "own",
        "direct_share": 0.05,
        "explore": 0.05,
    }
    tasks = [task.model_dump() for task in TASKS]
    tree = settings.model_dump() | {"tasks": tasks, "policy": policy}
    return Settings(**tree).override({"model.artifact": str(artifact)})


def lines(count: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    return [
        b"{broken"
        if i % 50 == 7
        else orjson.dumps({"id": f"r{i}", "imp": [{}], "site": {"id": f"s{rng.integers(60)}"}})
        for i in range(count)
    ]


async def decisions(settings: Settings, source: str, out: Path, chunk_size: int) -> pl.DataFrame:
    await run_replay(settings, ReplayOptions(source, out, chunk_size=chunk_size))
    frame = ReplayFolder(out).decisions().collect()
    return frame.drop("partition", "offset", "timestamp")


@pytest.mark.broker
async def test_file_and_topic_give_the_same_decisions_at_any_chunk_size(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Scores, verdicts, reasons, thresholds and propensities are equal, bit for bit."""
    mine = tiny(settings, make_artifact())
    file = tmp_path / "requests.jsonl"
    file.write_bytes(b"\n".join(lines(1500)) + b"\n")
    producer = AIOKafkaProducer(bootstrap_servers=mine.kafka.bootstrap, acks="all")
    async with producer:
        for i, line in enumerate(lines(1500)):
            await producer.send(
                mine.topics.requests,
                line,
                partition=(i * 7) % 4,
                timestamp_ms=START_MS + i // 10,
                headers=[sequence_header(i)],
            )
    first = await decisions(mine, str(file), tmp_path / "out", 1000)
    assert first.height == 1500 - 30
    assert set(first["reason"]) == {"score", "uncertain", "explore"}
    assert (first["verdict"] == "block").mean() == pytest.approx(0.4, abs=0.01)
    for chunk_size in (1, 100, 5000):
        for source in (str(file), mine.topics.requests):
            out = tmp_path / f"{Path(source).suffix}-{chunk_size}"
            assert_frame_equal(await decisions(mine, source, out, chunk_size), first)


@pytest.mark.parametrize("sound", [0, 7])
async def test_chunks_in_which_nothing_was_decided(
    settings: Settings, make_artifact: Make, tmp_path: Path, sound: int
) -> None:
    """Garbage before the first request, or nothing but garbage, is replayed like any other."""
    mine = tiny(settings, make_artifact())
    file = tmp_path / "requests.jsonl"
    rows = [b"{broken"] * 10 + [orjson.dumps({"id": f"r{i}", "imp": [{}]}) for i in range(sound)]
    file.write_bytes(b"\n".join(rows) + b"\n")
    outcomes = tmp_path / "outcomes.jsonl"
    outcomes.write_bytes(Outcome("r1", "click", 1).to_bytes() + b"\n")
    out = tmp_path / "out"
    options = ReplayOptions(str(file), out, outcomes=str(outcomes), chunk_size=4)
    summary = await run_replay(mine, options)
    assert (summary["rejected"], summary["passed"] + summary["blocked"]) == (10, sound)
    frame = ReplayFolder(out).decisions().collect()
    assert (frame.height, frame.schema["request_id"]) == (sound, pl.String)


@pytest.mark.broker
async def test_a_topic_is_read_between_two_moments(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """The first moment belongs to the replay, the last one does not."""
    mine = tiny(settings, make_artifact())
    producer = AIOKafkaProducer(bootstrap_servers=mine.kafka.bootstrap, acks="all")
    async with producer:
        for i in range(40):
            await producer.send_and_wait(
                mine.topics.requests,
                orjson.dumps({"id": f"r{i}", "imp": [{}]}),
                partition=i % 4,
                timestamp_ms=START_MS + 1000 * i,
            )
    options = ReplayOptions(
        mine.topics.requests, tmp_path / "out", start=str(START_MS + 10_000),
        end="2023-11-14T22:13:50",
    )  # fmt: skip
    summary = await run_replay(mine, options)
    found = ReplayFolder(tmp_path / "out").decisions().collect()["request_id"].to_list()
    assert found == [f"r{i}" for i in range(10, 30)]
    assert summary["requests"] == 20


async def test_times_select_requests_of_a_file(make_artifact: Make, tmp_path: Path) -> None:
    """The first moment belongs to the replay, the last one does not, in any unit."""
    mine = tiny(Settings(), make_artifact())
    file = stamped(tmp_path / "requests.jsonl", [(START_MS + 1000 * i) * 1000 for i in range(40)])
    options = ReplayOptions(
        str(file), tmp_path / "out", start=str(START_MS + 10_000), end=str(START_MS + 30_000)
    )
    summary = await run_replay(mine, options)
    found = ReplayFolder(tmp_path / "out").requests().collect()
    assert found["request_id"].to_list() == [f"r{i}" for i in range(10, 30)]
    assert found["offset"].to_list() == list(range(10, 30))
    assert (summary["from_ms"], summary["to_ms"]) == (START_MS + 10_000, START_MS + 29_000)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({"start": "2", "end": "2"}, "--from 2 is not before --to 2"),
        ({"start": str(2**63)}, "is no time"),
        ({"end": "5"}, "no request before 5; change --from and --to"),
        ({"start": "2200-01-01"}, "no request from 2200-01-01 on"),
    ],
)
async def test_a_range_without_requests_is_an_error(
    make_artifact: Make, tmp_path: Path, span: dict[str, str], message: str
) -> None:
    """It says what is wrong, and leaves no folder behind."""
    mine = tiny(Settings(), make_artifact())
    file = stamped(tmp_path / "requests.jsonl", [START_MS])
    with pytest.raises((ReplayError, TimeError), match=message):
        await run_replay(mine, ReplayOptions(str(file), tmp_path / "out", **span))
    assert not (tmp_path / "out").exists()


async def test_names_of_files_need_not_be_utf_8(make_artifact: Make, tmp_path: Path) -> None:
    """Neither that of the source nor that of the folder; the summary shows the odd bytes."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (folder / "requests.jsonl").write_bytes(b"\n".join(lines(20)))
    source, outcomes = str(folder / "requests.jsonl"), str(folder / "outcomes.jsonl")
    Path(outcomes).write_bytes(Outcome("r0", "click", START_MS).to_bytes())
    options = ReplayOptions(source, folder / "out", outcomes)
    summary = await run_replay(tiny(Settings(), make_artifact()), options)
    assert summary["source"].endswith("/\\xff/requests.jsonl")
    assert orjson.loads((folder / "out" / "summary.json").read_bytes()) == summary


async def test_a_file_without_requests_is_an_error(make_artifact: Make, tmp_path: Path) -> None:
    """There is nothing to decide."""
    source = tmp_path / "requests.jsonl"
    source.write_bytes(b"\n\n")
    with pytest.raises(ReplayError, match=r"requests\.jsonl: no request in 1 files"):
        await run_replay(
            tiny(Settings(), make_artifact()), ReplayOptions(str(source), tmp_path / "out")
        )


FAULTS = Path(__file__).resolve().parents[3] / "../shared/faults/events"


def stamped(path: Path, times: list[Any], body: str = "timestamp") -> Path:
    """A file of one request per stamp, in the envelope or in the request's ``ext.ts``."""
    rows: list[bytes] = []
    for i, time in enumerate(times):
        request: dict[str, Any] = {"id": f"r{i}", "imp": [{}], "site": {"id": f"s{i % 41}"}}
        if body == "ext":
            rows.append(orjson.dumps({**request, "ext": {"ts": time}}))
        else:
            rows.append(orjson.dumps({"value": request, "timestamp": time}))
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


async def test_one_stamp_a_day_ahead_does_not_jam_a_capacity(
    make_artifact: Make, tmp_path: Path
) -> None:
    """Of 100 requests a second a capacity of 50 passes half, with one stamp a day ahead."""
    mine = tiny(Settings(), make_artifact()).override({"policy.capacity": 50.0})
    source = FAULTS / "04_one_future_timestamp.jsonl"
    summary = await run_replay(mine, ReplayOptions(str(source), tmp_path / "out"))
    assert summary["requests"] == 600
    assert summary["passed"] == pytest.approx(300, abs=12)
    assert summary["distrusted_stamps"] == 1


@pytest.mark.parametrize("body", ["timestamp", "ext"])
@pytest.mark.parametrize("unit", ["us", "ns", "s", "garbage", "set back", "2**63"])
async def test_half_passes_whatever_the_stamps_are(
    make_artifact: Make, tmp_path: Path, unit: str, body: str
) -> None:
    """6,000 requests in a minute under a capacity of 50: half pass, in any unit, with garbage."""
    times: list[Any] = [START_MS + 10 * i for i in range(6000)]
    if unit in {"us", "ns"}:
        times = [time * {"us": 1000, "ns": 1_000_000}[unit] for time in times]
    elif unit == "s":
        times = [time // 1000 for time in times]
    elif unit == "set back":
        times[3000:] = [time - 3_600_000 for time in times[3000:]]
    else:
        rng = np.random.default_rng(0)
        wrong = {"garbage": [0, -1, START_MS + 86_400_000, 1, 2**62], "2**63": [2**63, 2**64 - 1]}
        for at in rng.integers(0, 6000, 300).tolist():
            times[at] = wrong[unit][at % len(wrong[unit])]
    mine = tiny(Settings(), make_artifact()).override({"policy.capacity": 50.0})
    source = stamped(tmp_path / "r.jsonl", times, body)
    summary = await run_replay(mine, ReplayOptions(str(source), tmp_path / "out"))
    assert summary["requests"] == 6000
    if unit == "s":  # a second's credit flows at once, of which the gate holds a part
        assert 300 <= summary["passed"] <= 3060
    else:
        assert summary["passed"] == pytest.approx(3000, rel=0.02)


@pytest.mark.broker
async def test_a_wrong_stamp_does_not_hold_back_its_partition(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """A topic is merged in its true order, though one stamp is a day ahead and numbers are odd."""
    mine = tiny(settings, make_artifact())
    producer = AIOKafkaProducer(bootstrap_servers=mine.kafka.bootstrap, acks="all")
    async with producer:
        for i in range(200):
            await producer.send(
                mine.topics.requests,
                orjson.dumps({"id": f"r{i}", "imp": [{}]}),
                partition=i % 4,
                timestamp_ms=START_MS + 10 * i + (86_400_000 if i == 50 else 0),
                headers=[(SEQUENCE_HEADER, b"\xff" * 5000)] if i == 60 else [],
            )
    found = (await decisions(mine, mine.topics.requests, tmp_path / "out", 100))["request_id"]
    order = [int(name.removeprefix("r")) for name in found]
    assert sorted(order) == list(range(200))
    assert max(abs(at - number) for at, number in enumerate(order)) <= 4


@pytest.mark.broker
async def test_a_whole_topic_is_replayed_whatever_its_times_are(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Without a first moment nothing lies before it: neither -1, which is none, nor 1969."""
    mine = tiny(settings, make_artifact())
    async with ChunkSink(client_options(mine.kafka)) as sink:
        rows = [
            Outgoing(None, orjson.dumps({"id": f"r{i}", "imp": [{}]}), at)
            for i, at in enumerate([-1, -(2**40), 0, START_MS, -1])
        ]
        await sink.send(mine.topics.requests, 0, rows)
    options = ReplayOptions(mine.topics.requests, tmp_path / "out")
    assert (await run_replay(mine, options))["requests"] == 5
    late = ReplayOptions(mine.topics.requests, tmp_path / "late", start="0")
    assert (await run_replay(mine, late))["requests"] == 2


@pytest.mark.broker
async def test_processes_and_logged_decisions_of_topics(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Pass and block topics are one history by source offsets, with verdicts and reasons.

    However many processes score it, and wherever a replay of it stopped, the tables are the same.
    """
    mine = tiny(settings, make_artifact())
    topics = (mine.topics.passed, mine.topics.blocked)
    async with ChunkSink(client_options(mine.kafka)) as sink:
        for partition in range(4):
            rows: list[list[Outgoing]] = [[], []]
            for offset in range(100):
                verdict = (offset * 7 + partition) % 3 == 0
                decision = Decision("m", 0.5, 0.25, Reason.SCORE, 1.0, offset)
                value = orjson.dumps({"id": f"p{partition}-{offset}", "imp": [{}]})
                made = Outgoing(None, value, START_MS + offset // 9, (decision.to_header(),))
                rows[verdict].append(made)
            for topic, of_topic in zip(topics, rows, strict=True):
                await sink.send(topic, partition, of_topic)
    frames = []
    for processes in (1, 2):
        out = tmp_path / f"out-{processes}"
        options = ReplayOptions(",".join(topics), out, processes=processes, rows_per_part=150)
        assert (await run_replay(mine, options))["requests"] == 400
        frames.append(ReplayFolder(out))
    requests = frames[0].requests().collect()
    assert_frame_equal(frames[1].requests().collect(), requests)
    assert_frame_equal(frames[1].decisions().collect(), frames[0].decisions().collect())
    for partition, of_partition in requests.group_by("partition"):
        assert of_partition["offset"].to_list() == list(range(100))
        wanted = ["block" if (at * 7 + partition[0]) % 3 == 0 else "pass" for at in range(100)]
        assert of_partition["logged_verdict"].to_list() == wanted
    assert requests["timestamp"].is_sorted()
