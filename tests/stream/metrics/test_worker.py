import time

import numpy as np
import pytest

from stream.metrics.worker import ServingModel, WorkerMetrics


def test_only_the_serving_version_is_shown() -> None:
    """A swap replaces the version, and losing the model raises the fail-open flag."""
    metrics = WorkerMetrics()
    read = metrics.registry.get_sample_value
    metrics.model(ServingModel("old", 0.0))
    metrics.model(ServingModel("new", 0.0))
    assert read("weir_model_info", {"version": "old", "role": "serve"}) is None
    assert read("weir_model_info", {"version": "new", "role": "serve"}) == 1
    assert read("weir_fail_open") == 0
    assert read("weir_model_swaps_total") == 2
    metrics.model(None)
    assert read("weir_fail_open") == 1


def test_latency_leaves_absurd_timestamps_out() -> None:
    """A little ahead counts as none; -1, years ahead and days ago count as nothing at all."""
    metrics = WorkerMetrics(clock=lambda: 1_000_000.0)
    read = metrics.registry.get_sample_value
    now_ms = 1_000_000_000
    stamps = [now_ms - 40, now_ms + 900, now_ms - 7_000, -1, 0, 2**62, now_ms - 90_000_000]
    metrics.latency(np.array(stamps, np.int64))
    assert read("weir_latency_seconds_count") == 3
    assert read("weir_latency_seconds_sum") == pytest.approx(7.04)
    assert read("weir_latency_seconds_bucket", {"le": "0.05"}) == 2
    assert read("weir_latency_ignored_total") == 4


def test_overlapping_writes_are_not_summed() -> None:
    """Two chunks written at the same time take the time of one, and each its own."""
    metrics = WorkerMetrics()
    read = metrics.registry.get_sample_value
    start = time.perf_counter()
    with metrics.writing(), metrics.writing():
        time.sleep(0.05)
    elapsed = time.perf_counter() - start
    assert 0.05 <= (read("weir_writing_seconds_total") or 0.0) <= elapsed
    assert read("weir_write_seconds_count") == 2
    assert (read("weir_write_seconds_sum") or 0.0) >= 0.1


def test_target_is_what_the_last_step_was_due() -> None:
    """The gauge is a share of the step, the counter adds up."""
    metrics = WorkerMetrics()
    read = metrics.registry.get_sample_value
    metrics.rate(due=60.0, requests=100, achieved=0.6, threshold=0.1, capacity=0.0)
    metrics.rate(due=90.5, requests=100, achieved=0.6, threshold=0.1, capacity=60.0)
    metrics.rate(due=0.0, requests=0, achieved=0.6, threshold=0.1, capacity=60.0)
    assert read("weir_rate_target") == 0.905
    assert read("weir_intercepts_due_total") == 150.5
    assert read("weir_capacity") == 60.0
