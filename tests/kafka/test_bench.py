"""The code of `make bench`, with figures too small to be measurements."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from benchmarks.transport.contender import CONTENDERS, TRANSACTIONAL_LOOP, WEIR
from benchmarks.transport.latency.cell import Load
from benchmarks.transport.memory import growth
from benchmarks.transport.report import bars, tables, throughput
from benchmarks.transport.rounds import Effort, Sample, span
from benchmarks.transport.run import Bench
from models.settings import Settings
from stream.brokers.kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka

REQUESTS = 20_000
NUMBER = {"type": "number", "exclusiveMinimum": 0}
CONTENDER = {
    "type": "object",
    "required": ["requests_per_second", "cpu_us_per_request", "peak_mb", "rounds", "exact"],
    "properties": {
        "requests_per_second": NUMBER,
        "cpu_us_per_request": NUMBER,
        "peak_mb": NUMBER,
        "rounds": {"type": "array", "items": NUMBER, "minItems": 1},
        "exact": {"const": True},
    },
}
SCHEMA = {
    "type": "object",
    "required": ["contenders", "ratios", "latency", "memory"],
    "properties": {
        "contenders": {"type": "object", "additionalProperties": CONTENDER},
        "ratios": {"type": "object", "additionalProperties": NUMBER},
    },
}


@pytest.fixture
def bench(broker: KafkaCluster, tmp_path: Path) -> Bench:
    """A benchmark with one partition, so that all contenders see one order of requests."""
    settings = Settings().override(
        {
            "kafka.bootstrap": broker.bootstrap,
            "kafka.partitions": 1,
            "topics.requests": f"bench-{tmp_path.name}",
        }
    )
    return Bench(settings, tmp_path, Console(quiet=True))


@pytest.mark.slow
async def test_contenders_write_the_very_same(bench: Bench) -> None:
    """Weir and its peers decide the same requests alike, and the figures fit their schema."""
    names = (WEIR, "aiokafka_loop", "confluent_loop", TRANSACTIONAL_LOOP)
    effort = Effort(requests=REQUESTS, warm_up=1, seconds=60)
    rounds = await bench.rounds([CONTENDERS[name] for name in names], effort, 1)
    assert {r.audit.passed + r.audit.blocked + r.audit.rejected for r in rounds} == {REQUESTS}
    assert len({r.audit.digest for r in rounds}) == 1
    figures: dict[str, Any] = throughput(rounds) | {"latency": {}, "memory": {}}
    jsonschema.validate(figures, SCHEMA)
    assert set(figures["ratios"]) == {"aiokafka_loop", "confluent_loop"}
    assert figures["contenders"][TRANSACTIONAL_LOOP]["exact"]
    assert {bar.figure for bar in bars(figures)} >= {"ratio aiokafka_loop"}
    assert len(list(tables(figures))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weir_exactly_once", TRANSACTIONAL_LOOP, "confluent_loop"])
async def test_latency_counts_what_was_due_after_the_warm_up(bench: Bench, name: str) -> None:
    """Passed requests are measured from their intended time, in transactions too."""
    load = Load(per_second=500, seconds=2.0, window_s=0.5, warm_up_s=2.0)
    found = await bench.latency(CONTENDERS[name], "test", load)
    assert found is not None
    due = load.per_second * load.seconds
    assert 0.3 * due < found.measured < 0.5 * due  # the rate blocks 0.6 of them
    assert 0 < found.p50_ms <= found.p99_ms <= found.p99_9_ms <= found.max_ms
    assert found.warm_up_s >= 1.0  # of a window or more, and the sender's start


@pytest.mark.slow
async def test_a_load_that_is_too_much_is_said_to_be(bench: Bench) -> None:
    """The capacity is finite: ten times of it only makes a queue."""
    load = Load(per_second=300_000, seconds=1.0, window_s=2.0, warm_up_s=20.0)
    assert await bench.latency(CONTENDERS["stock_faust"], "test", load) is None


@pytest.mark.slow
async def test_memory_is_watched_to_the_last_request(bench: Bench) -> None:
    """A short run through a topic that keeps little comes to its end."""
    found = await bench.memory(CONTENDERS[WEIR], REQUESTS)
    assert found["requests"] == REQUESTS
    assert 0 < found["at_the_end_mb"] <= found["peak_mb"]


def test_growth_is_the_last_samples_against_the_first_after_the_warm_up() -> None:
    """A tenth more at the end is ten per cent; what happens in the warm-up is left out."""
    steady = [(done, 1_000_000) for done in range(200, 900, 10)]
    samples = [(0, 1), (100, 9_000_000), *steady, *[(done, 1_100_000) for done in range(900, 1000)]]
    assert growth(samples, 1000)["growth_percent"] == 10.0
    assert growth(samples, 1000)["peak_mb"] == 9.0


def test_a_round_is_measured_between_the_warm_up_and_the_last_look_but_one() -> None:
    """The start and the idle end are left out, unless the backlog was through too soon for that."""
    samples = [Sample(at_s=float(i), requests=100 * i, cpu_s=0.5 * i) for i in range(6)]
    effort = Effort(requests=500, warm_up=150, seconds=60)
    assert span(samples, effort) == (samples[2], samples[4])
    assert span(samples[:4], Effort(300, 150, 60)) == (samples[2], samples[3])
    assert span([samples[0], samples[5]], effort) == (samples[0], samples[5])
