"""Reads workers' metrics endpoints, for the demo's live table."""

import asyncio
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families


@dataclass
class WorkerSample:
    """Figures of one worker, or of several added up, at one moment."""

    requests: float = 0.0
    passed: float = 0.0
    blocked: float = 0.0
    achieved: float = 0.0
    target: float = 0.0
    threshold: float = 0.0
    lag: float = 0.0
    model: str = ""
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


async def scrape(ports: Iterable[int]) -> dict[int, WorkerSample]:
    """Samples of the workers that answer, by port."""
    ports = list(ports)
    samples = await asyncio.gather(*(asyncio.to_thread(_scrape_one, port) for port in ports))
    return {port: s for port, s in zip(ports, samples, strict=True) if s is not None}


def merge(samples: Iterable[WorkerSample]) -> WorkerSample:
    """Several workers as one; the rate is weighted by requests."""
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


def _scrape_one(port: int) -> WorkerSample | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    sample = WorkerSample()
    for family in text_string_to_metric_families(text):
        for metric in family.samples:
            _take(sample, metric.name, metric.labels, metric.value)
    return sample


def _take(sample: WorkerSample, name: str, labels: dict[str, str], value: float) -> None:
    match name:
        case "weir_requests_total":
            sample.requests = value
        case "weir_verdicts_total" if labels["verdict"] == "pass":
            sample.passed += value
        case "weir_verdicts_total":
            sample.blocked += value
        case "weir_rate_achieved":
            sample.achieved = value
        case "weir_rate_target":
            sample.target = value
        case "weir_threshold":
            sample.threshold = value
        case "weir_consumer_lag":
            sample.lag += value
        case "weir_model_info":
            sample.model = labels["version"]
        case "weir_chunk_seconds_bucket":
            bound = float(labels["le"])
            sample.chunk_buckets[bound] = sample.chunk_buckets.get(bound, 0.0) + value
        case _:
            return
