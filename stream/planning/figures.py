"""The figures that a plan is made of: what was measured, and what is assumed instead.

A figure is the default of an option of ``weir plan`` with its name, so a measurement of your own
replaces it.
"""

from dataclasses import dataclass
from typing import Literal

Guarantee = Literal["at-least-once", "exactly-once"]


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one guarantee; `SOURCES` says where each comes from.

    Attributes:
        cpu_us: CPU time of a worker per request of ``bytes_measured``.
        cpu_us_by_size: The part of it that grows with the size of a request.
        bytes_measured: Size of the requests that it was measured with.
        latency_ms: p99 of an idle worker; at a utilisation u it is this over 1 - u.
        most_utilisation: Utilisation that no worker is planned above, whatever the latency.
        memory_mb: Resident memory of a worker.
        packed: Size of a packed batch of outputs, relative to the requests.
        decision_bytes: What the decision adds to each output.
        broker_mb: Megabytes that a broker takes in per second, replicas included.
        broker_partitions: Replicas of partitions that a broker holds.
    """

    cpu_us: float
    cpu_us_by_size: float
    bytes_measured: float
    latency_ms: float
    most_utilisation: float
    memory_mb: float
    packed: float
    decision_bytes: float
    broker_mb: float
    broker_partitions: float


FIGURES: dict[Guarantee, Figures] = {
    "at-least-once": Figures(22.1, 8.6, 1370, 19.0, 0.7, 316, 0.147, 150, 50.0, 4000),
    "exactly-once": Figures(22.7, 8.6, 1370, 80.0, 0.7, 293, 0.147, 150, 50.0, 4000),
}

SOURCES: dict[str, str] = {
    "cpu_us": "measured, docs/measurements.md, Throughput",
    "cpu_us_by_size": "measured, docs/measurements.md: scanner 3, packing 1.5, zstd 2.1, reading 2",
    "bytes_measured": "measured, docs/measurements.md, Throughput",
    "latency_ms": "measured, docs/scale.md: p99 at 30 % and 70 % of two cores with the broker on "
    "them, the worse of both times 1 - u",
    "most_utilisation": "assumed: the highest load whose latency was measured",
    "memory_mb": "measured, docs/measurements.md, Memory and latency",
    "packed": "measured, docs/measurements.md, Compression (zstd)",
    "decision_bytes": "measured, models/bounds.py: 150 bytes and the version",
    "broker_mb": "assumed: measure your brokers",
    "broker_partitions": "assumed: what Kafka's operators recommend at most",
}
