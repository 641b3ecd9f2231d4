"""Scrapes the metrics endpoints of processes on this machine, for demo, soak and tests."""

import asyncio
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families


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

    outcomes: float = 0.0
    examples: float = 0.0
    pending: float = 0.0
    lag: float = 0.0


async def scrape(ports: Iterable[int]) -> dict[int, WorkerSample]:
    """Scrape workers by port; those that do not answer are left out."""
    found = {}
    for port, text in (await _read_all(ports)).items():
        sample = found[port] = WorkerSample()
        for name, labels, value in _metrics(text):
            _read_metric(sample, name, labels, value)
    return found


async def scrape_feedback(port: int) -> FeedbackSample | None:
    """Scrape a feedback worker; None if it does not answer."""
    text = (await _read_all([port])).get(port)
    if text is None:
        return None
    sample = FeedbackSample()
    for name, labels, value in _metrics(text):
        match name:
            case "weir_feedback_events_total" if labels["fate"] == "joined":
                sample.outcomes = value
            case "weir_feedback_events_total" if labels["fate"] == "examples":
                sample.examples = value
            case "weir_feedback_pending":
                sample.pending += value
            case "weir_feedback_lag_records":
                sample.lag += value
            case _:
                continue
    return sample


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


async def _read_all(ports: Iterable[int]) -> dict[int, str]:
    ports = list(ports)
    texts = await asyncio.gather(*(asyncio.to_thread(_read, port) for port in ports))
    return {port: text for port, text in zip(ports, texts, strict=True) if text is not None}


def _read(port: int) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def _metrics(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for metric in family.samples:
            yield metric.name, metric.labels, metric.value


_GAUGES: Final = {
    "weir_requests_total": "requests",
    "weir_rate_achieved": "achieved",
    "weir_rate_target": "target",
    "weir_threshold": "threshold",
    "weir_control_revision": "revision",
    "weir_fleet_shared": "shared",
}


def _read_metric(sample: WorkerSample, name: str, labels: dict[str, str], value: float) -> None:
    match name:
        case "weir_verdicts_total" if labels["verdict"] == "pass":
            sample.passed += value
        case "weir_verdicts_total":
            sample.blocked += value
        case "weir_consumer_lag":
            sample.lag += value
        case "weir_model_info":
            sample.model = labels["version"]
        case "weir_chunk_seconds_bucket":
            bound = float(labels["le"])
            sample.chunk_buckets[bound] = sample.chunk_buckets.get(bound, 0.0) + value
        case _ if name in _GAUGES:
            setattr(sample, _GAUGES[name], value)
