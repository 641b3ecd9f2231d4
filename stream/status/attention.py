"""What needs attention, the most urgent first; pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from stream.doctor.finding import Finding, Level, fail, ok, warn
from stream.status.facts import LabelFacts, Status, TrainerFacts, WorkerFacts
from stream.status.processes import FEEDBACK, TRAINER, WORKER

MAX_LAG: Final = 100_000
"""Records that wait, above which a reader is far behind."""
RATE_OFF: Final = 0.02
MIN_REQUESTS: Final = 10_000
"""Requests without which an achieved rate is not compared with its target."""
STALLED_S: Final = 600.0
REBUILD_S: Final = 6 * 3600.0
REFUSED: Final = 3
CALIBRATION_OFF: Final = 0.2
ERRORS_OFF: Final = 5.0


def attention(status: Status) -> list[Finding]:
    """Findings that need attention, failures first; one that is ok if there is none."""
    found = [*_brokers(status), *_processes(status), *_workers(status)]
    found += [finding for trainer in status.trainers for finding in _trainer(trainer)]
    if not found:
        return [ok("status", "nothing needs attention")]
    return sorted(found, key=lambda finding: finding.level is not Level.FAIL)


def _brokers(status: Status) -> Iterator[Finding]:
    brokers = status.brokers
    if brokers.error is not None:
        yield fail("brokers", brokers.error, "see `weir doctor`")
    missing = [topic.name for topic in brokers.topics if not topic.partitions]
    if missing:
        yield fail("topics", f"missing: {', '.join(missing)}", "`weir topics` creates them")
    for topic in brokers.topics:
        for group, records in topic.lag.items():
            if records > MAX_LAG:
                yield warn(
                    "lag", f"{group} is {records:,} records behind on {topic.name}", "add workers"
                )
    for group, members in brokers.members.items():
        if not members:
            yield fail("groups", f"no consumer in {group}", "start its workers")
    registry = status.registry
    if registry.error is not None:
        yield warn("registry", registry.error)
    elif registry.has_announced is False:
        yield fail(
            "registry",
            f"{brokers.announced} is announced, but not in the registry",
            "publish it again, or announce another version",
        )


def _processes(status: Status) -> Iterator[Finding]:
    if not status.processes:
        yield warn(
            "processes",
            "no metrics endpoint is known",
            "name them in status.endpoints or with --endpoint",
        )
        return
    for process in status.processes:
        if not process.answers:
            yield fail("processes", f"{process.address} does not answer")
        elif process.unmet:
            yield warn(process.role, f"{process.address} is not ready: {', '.join(process.unmet)}")
    roles = [process.role for process in status.processes]
    if roles.count(WORKER) < max(1, status.expected_workers):
        yield fail("workers", f"{roles.count(WORKER)} of {status.expected_workers} workers answer")
    for role, consequence in ((FEEDBACK, "no examples are made"), (TRAINER, "nothing is learned")):
        if role not in roles:
            yield warn(role, f"none answers: {consequence}")
    if len(status.trainers) > 1:
        addresses = ", ".join(trainer.address for trainer in status.trainers)
        yield warn(TRAINER, f"{len(status.trainers)} run: {addresses}", "one of them waits")


def _workers(status: Status) -> Iterator[Finding]:
    workers = status.workers
    open_ones = [worker.address for worker in workers if worker.fail_open]
    if open_ones:
        yield fail("model", f"everything passes at {', '.join(open_ones)}: no model serves")
    versions = {worker.model for worker in workers if worker.model}
    if len(versions) > 1:
        yield warn("model", f"workers serve different versions: {', '.join(sorted(versions))}")
    announced = status.brokers.announced
    if announced is not None and versions and announced not in versions:
        yield warn(
            "model",
            f"{announced} is announced, {', '.join(sorted(versions))} serves",
            "the workers' logs say why it was refused",
        )
    requests = sum(worker.requests for worker in workers)
    if requests >= MIN_REQUESTS:
        off = sum(worker.blocked for worker in workers) / requests - due_share(workers)
        if abs(off) > RATE_OFF:
            yield warn("rate", f"off by {off:+.3f} since the workers started")
    alone = [worker.address for worker in workers if not worker.shared]
    if len(workers) > 1 and alone:
        yield warn("rate", f"not shared with the fleet: {', '.join(alone)}")


def due_share(workers: Iterable[WorkerFacts]) -> float:
    """Share that should have been intercepted; 0 without requests."""
    workers = tuple(workers)
    requests = sum(worker.requests for worker in workers)
    return sum(worker.due for worker in workers) / requests if requests else 0.0


def _trainer(trainer: TrainerFacts) -> Iterator[Finding]:
    if trainer.stalled_s is not None and trainer.stalled_s > STALLED_S:
        yield fail(TRAINER, f"no progress for {trainer.stalled_s / 60:.0f} min", "see its log")
    behind = {topic: records for topic, records in trainer.lag.items() if records > MAX_LAG}
    for topic, records in behind.items():
        yield warn(TRAINER, f"{records:,.0f} records behind on {topic}")
    silent = [task for task, labels in trainer.labels.items() if not labels.outcomes]
    if trainer.examples > MIN_REQUESTS and silent:
        yield warn(
            "labels",
            f"no outcome of {', '.join(silent)} since the trainer started",
            "ask whoever writes them; requests whose window closes count as negatives",
        )
    rebuild = trainer.rebuild
    if rebuild.running_s is not None and rebuild.running_s > REBUILD_S:
        yield warn("rebuild", f"running for {rebuild.running_s / 3600:.1f} h")
    if rebuild.refused_in_row >= REFUSED:
        gates = ", ".join(rebuild.failed_gates) or "see its log"
        yield warn("rebuild", f"{rebuild.refused_in_row} candidates in a row refused: {gates}")
    if rebuild.result == "failed":
        yield warn("rebuild", "the last one failed", "the trainer's log names its log")
    if trainer.drift_alarm:
        most = max(trainer.psi.items(), key=lambda each: each[1], default=("scores", 0.0))
        yield warn("drift", f"PSI {most[1]:.2f} of {most[0]}")
    for task, labels in trainer.labels.items():
        if _is_off(labels):
            yield warn("calibration", f"{task}: observed over expected is {labels.calibration:.2f}")


def _is_off(labels: LabelFacts) -> bool:
    if labels.calibration is None or not labels.error or labels.learned_from:
        return False
    off = abs(labels.calibration - 1)
    return off > CALIBRATION_OFF and off / labels.error > ERRORS_OFF
