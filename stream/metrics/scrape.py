"""Scrapes the metrics endpoints of processes on this machine, for demo, soak and tests."""

import asyncio
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

MAX_BYTES: Final = 16 << 20
"""Bytes of an answer that are read."""


@dataclass
class WorkerSample:
    """Metrics of one worker, or of several merged, at one moment."""

    requests: float = 0.0
    passed: float = 0.0
    blocked: float = 0.0
    achieved: float = 0.0
    target: float = 0.0
    threshold: float = 0.0
    lag: float = 0.0
    model: str = ""
    revision: float = -1.0
    shared: float = 0.0
    chunk_buckets: dict[float, float] = field(default_factory=dict)

    def p99_ms(self) -> float:
        """99th percentile of the time per chunk in ms, interpolated within its bucket."""
        bounds = sorted(self.chunk_buckets)
        total = self.chunk_buckets[bounds[-1]] if bounds else 0
        if not total:
            return 0.0
        wanted, low, below = 0.99 * total, 0.0, 0.0
        for bound in bounds:
            count = self.chunk_buckets[bound]
            if count >= wanted:
                if bound == float("inf"):
                    return low * 1000
                return 1000 * (low + (bound - low) * (wanted - below) / (count - below))
            low, below = bound, count
        return low * 1000


@dataclass
class FeedbackSample:
    """Metrics of a feedback worker at one moment."""

    examples: float = 0.0
    lag: float = 0.0


async def scrape(ports: Iterable[int]) -> dict[int, WorkerSample]:
    """Scrape workers by port; those that do not answer are left out."""
    ports = list(ports)
    answers = await asyncio.gather(*(asyncio.to_thread(read_metrics, port) for port in ports))
    found = {}
    for port, metrics in zip(ports, answers, strict=True):
        if metrics is not None:
            sample = found[port] = WorkerSample()
            for metric in metrics:
                _add_metric(sample, metric)
    return found


async def scrape_feedback(port: int) -> FeedbackSample | None:
    """Scrape a feedback worker; None if it does not answer."""
    metrics = await asyncio.to_thread(read_metrics, port)
    if metrics is None:
        return None
    sample = FeedbackSample()
    for metric in metrics:
        match metric.name:
            case "weir_feedback_requests_total" if metric.labels["fate"] == "example":
                sample.examples = metric.value
            case "weir_feedback_lag_records":
                sample.lag += metric.value
            case _:
                continue
    return sample


def read_metrics(port: int, timeout_s: float = 2.0, host: str = "127.0.0.1") -> list[Sample] | None:
    """All samples of a metrics endpoint; None if it does not answer with metrics in time."""
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            text = answer.read(MAX_BYTES).decode()
        families = list(text_string_to_metric_families(text))
    except (OSError, ValueError, HTTPException):
        return None
    return [sample for family in families for sample in family.samples]


def merge(samples: Iterable[WorkerSample]) -> WorkerSample:
    """Merge samples of several workers; the rate is weighted by requests."""
    total = WorkerSample()
    for sample in samples:
        weight = sample.requests
        share = weight / (total.requests + weight) if weight else 0.0
        total.achieved += share * (sample.achieved - total.achieved)
        total.threshold += share * (sample.threshold - total.threshold)
        total.requests += sample.requests
        total.passed += sample.passed
        total.blocked += sample.blocked
        total.lag += sample.lag
        total.target = sample.target or total.target
        total.model = sample.model or total.model
        for bound, count in sample.chunk_buckets.items():
            total.chunk_buckets[bound] = total.chunk_buckets.get(bound, 0.0) + count
    return total


_GAUGES: Final = {
    "weir_requests_total": "requests",
    "weir_rate_achieved": "achieved",
    "weir_rate_target": "target",
    "weir_threshold": "threshold",
    "weir_control_revision": "revision",
    "weir_fleet_shared": "shared",
}


def _add_metric(sample: WorkerSample, metric: Sample) -> None:
    match metric.name:
        case "weir_verdicts_total" if metric.labels["verdict"] == "pass":
            sample.passed += metric.value
        case "weir_verdicts_total":
            sample.blocked += metric.value
        case "weir_consumer_lag":
            sample.lag += metric.value
        case "weir_model_info" if metric.labels["role"] == "serve":
            sample.model = metric.labels["version"]
        case "weir_chunk_seconds_bucket":
            bound = float(metric.labels["le"])
            sample.chunk_buckets[bound] = sample.chunk_buckets.get(bound, 0.0) + metric.value
        case name if name in _GAUGES:
            setattr(sample, _GAUGES[name], metric.value)
