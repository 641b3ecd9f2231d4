"""A plan: partitions, workers, brokers, memory and network for a load; pure arithmetic.

A worker is one process with one busy core. Where its utilisation is u, a request waits in queues
that grow as 1 / (1 - u), as measured between 30 % and 70 %. So a latency budget gives a
utilisation, and that the requests a second of a worker.
"""

import math
from dataclasses import dataclass
from typing import Final

from models.errors import UserError
from stream.kafka.topics import SLOTS
from stream.planning.figures import Figures
from stream.policy.fleet.view import interval_s

PARTITIONS_EACH: Final = 4
"""Partitions per worker: when one is lost, its requests go to several others."""
SPARE: Final = 0.05
"""Part of the workers that may be down at a time; one at least."""
PARTITIONED_TOPICS: Final = 6
"""bid-requests, passed, blocked, rejected, outcomes, training-examples."""
FEWEST_BROKERS: Final = 3
STATE_BYTES: Final = 1_500
SUMMARY_BYTES: Final = 1_600
"""Bytes of a state of the fleet and of a worker's summary, as `benchmarks/rate/scale.py` writes."""


class PlanError(UserError, ValueError):
    """A load that no number of workers can handle."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be handled.

    Attributes:
        requests: Requests per second, at the peak.
        bytes: Bytes of a request.
        p99_ms: Latency from a request's record to its decision's, of 99 in 100.
        rate: Share of the requests that is intercepted.
        replication: Replicas of every partition.
        input_packed: Size of a batch of requests on the wire, relative to the requests.
    """

    requests: float
    bytes: float
    p99_ms: float
    rate: float = 0.8
    replication: int = 3
    input_packed: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What handles it. Megabytes are 10^6 bytes, per second where they are of networks.

    Attributes:
        utilisation: Utilisation of a worker's core at the peak.
        worker_requests: Requests per second of a worker at that.
        workers: Workers, with the spare ones.
        spare: Workers that may be down.
        partitions: Partitions of the requests, and of each output topic.
        brokers: Brokers.
        worker_memory_mb: Memory of all workers.
        read_mb: What workers read.
        passed_mb: What they write to the topic of the passed requests, packed.
        written_mb: What they write in all.
        broker_in_mb: What brokers write to disks, replicas included.
        replicas: Replicas of partitions on all brokers.
        interval_s: Time between two summaries of a worker.
        worker_sharing_bytes: Bytes per second that sharing the rate takes a worker to read.
        summaries_bytes: Bytes per second of all summaries, which a coordinator reads.
    """

    utilisation: float
    worker_requests: float
    workers: int
    spare: int
    partitions: int
    brokers: int
    worker_memory_mb: float
    read_mb: float
    passed_mb: float
    written_mb: float
    broker_in_mb: float
    replicas: int
    interval_s: float
    worker_sharing_bytes: float
    summaries_bytes: float


def make_plan(load: Load, figures: Figures) -> Plan:
    """The plan for a load.

    Raises:
        PlanError: If the latency is below what an idle worker has.
    """
    utilisation = min(figures.most_utilisation, 1.0 - figures.latency_ms / load.p99_ms)
    if utilisation <= 0.0:
        raise PlanError(
            f"p99 {load.p99_ms:g} ms: an idle worker has {figures.latency_ms:g} ms; allow more, "
            "choose at-least-once, or give --latency-ms as you measured it"
        )
    by_size = figures.cpu_us_by_size * load.bytes / figures.bytes_measured
    cpu_us = figures.cpu_us - figures.cpu_us_by_size + by_size
    worker_requests = utilisation * 1e6 / cpu_us
    needed = math.ceil(load.requests / worker_requests)
    spare = max(1, math.ceil(SPARE * needed))
    workers = needed + spare
    partitions = PARTITIONS_EACH * workers
    read_mb = load.requests * load.bytes * load.input_packed / 1e6
    written_mb = load.requests * (load.bytes + figures.decision_bytes) * figures.packed / 1e6
    broker_in_mb = load.replication * (read_mb + written_mb)
    replicas = load.replication * PARTITIONED_TOPICS * partitions
    brokers = max(
        FEWEST_BROKERS,
        load.replication,
        math.ceil(broker_in_mb / figures.broker_mb),
        math.ceil(replicas / figures.broker_partitions),
    )
    interval = interval_s(workers)
    return Plan(
        utilisation,
        worker_requests,
        workers,
        spare,
        partitions,
        brokers,
        workers * figures.memory_mb,
        read_mb,
        (1.0 - load.rate) * written_mb,
        written_mb,
        broker_in_mb,
        replicas,
        interval,
        STATE_BYTES / interval,
        SUMMARY_BYTES * workers / interval,
    )


def explain(load: Load, plan: Plan) -> list[tuple[str, str, str]]:
    """What is needed, how much, and why: the rows that ``weir plan`` prints."""
    share = plan.worker_sharing_bytes / 1000
    return [
        (
            "workers",
            f"{plan.workers:,}",
            f"{plan.worker_requests:,.0f} requests/s each at {plan.utilisation:.0%} of a core; "
            f"{plan.spare} may be down",
        ),
        ("cores", f"{plan.workers:,}", "one per worker, and what the machine needs itself"),
        (
            "memory of workers",
            f"{plan.worker_memory_mb / 1000:,.1f} GB",
            f"{plan.worker_memory_mb / plan.workers:.0f} MB each, for one scenario",
        ),
        (
            "partitions",
            f"{plan.partitions:,}",
            f"{PARTITIONS_EACH} per worker, of the requests and of each output topic",
        ),
        (
            "brokers",
            f"{plan.brokers:,}",
            f"{plan.broker_in_mb:,.0f} MB/s with {load.replication} replicas, "
            f"{plan.replicas:,} replicas of partitions",
        ),
        ("network into workers", f"{plan.read_mb:,.0f} MB/s", "every request once"),
        (
            "network out of workers",
            f"{plan.written_mb:,.0f} MB/s",
            f"packed; {plan.passed_mb:,.0f} MB/s of it passed requests",
        ),
        (
            "sharing of the rate",
            f"{share:,.1f} KB/s",
            f"read by each worker; all summaries {plan.summaries_bytes / 1e6:.1f} MB/s, "
            f"every {plan.interval_s:g} s, over up to {SLOTS} coordinators",
        ),
    ]
