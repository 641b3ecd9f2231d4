import numpy as np
import pytest

from models.process.health import Health
from models.process.probes import serve
from stream.messages import Reason, RejectCode
from stream.metrics.scrape import WorkerSample, merge, scrape
from stream.metrics.worker import ServingModel, WorkerMetrics


async def test_a_worker_is_read_through_its_endpoint() -> None:
    """What the worker counts is what the scrape finds."""
    metrics = WorkerMetrics()
    metrics.model(ServingModel("v7", 0.0))
    metrics.chunk(30, 0.004)
    metrics.verdicts(
        np.array([True, False, False]),
        np.array([Reason.UNCERTAIN, Reason.SCORE, Reason.SCORE], np.uint8),
    )
    metrics.reject(RejectCode.EMPTY)
    metrics.rate(due=6.0, requests=10, achieved=0.59, threshold=0.25, capacity=0.0)
    metrics.lag({("bid-requests", 0): 5, ("bid-requests", 1): 7})
    metrics.lag({("bid-requests", 1): 8})
    port = serve(metrics.registry, Health("worker", []), "127.0.0.1", 0)
    sample = (await scrape([port]))[port]
    assert (sample.requests, sample.passed, sample.blocked) == (30, 1, 2)
    assert (sample.target, sample.achieved, sample.threshold) == (0.6, 0.59, 0.25)
    assert (sample.lag, sample.model) == (8, "v7")
    assert 3 < sample.p99_ms() <= 5


async def test_a_worker_that_is_not_there_is_left_out() -> None:
    """A dead endpoint is no sample, and no error."""
    assert await scrape([1]) == {}


def test_p99_is_interpolated_within_its_bucket() -> None:
    """99 of 100 chunks under 10 ms and the rest under 20 ms put the percentile at 10 ms."""
    sample = WorkerSample(chunk_buckets={0.01: 99.0, 0.02: 100.0, float("inf"): 100.0})
    assert sample.p99_ms() == pytest.approx(10.0)
    assert WorkerSample().p99_ms() == 0.0


def test_merged_rate_is_weighted_by_requests() -> None:
    """A worker with three times the requests counts three times."""
    one = WorkerSample(requests=100, achieved=0.5, target=0.6, model="a")
    two = WorkerSample(requests=300, achieved=0.7, target=0.6, model="a")
    assert merge([one, two]).achieved == pytest.approx(0.65)
