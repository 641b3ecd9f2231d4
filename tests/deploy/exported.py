"""Registries of every role as they are once everything has happened to them."""

from dataclasses import dataclass

import numpy as np
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from models.process.health import Health
from models.process.probes import describe
from models.settings import Settings, TrainerSettings
from stream.faust_app.vitals import CONDITIONS, EVENT_LOOP
from stream.feedback.example_maker import Made
from stream.feedback.metrics import FeedbackMetrics
from stream.intercept.worker import MODEL
from stream.kafka.batches import CorruptBatchError
from stream.kafka.group_watch import GroupMetrics, GroupState, groups_of
from stream.messages import REASON_LABELS, ModelRole, RejectCode
from stream.metrics.families import ChallengerFamilies
from stream.metrics.worker import ServingModel, WorkerMetrics
from stream.transport import Incidents
from trainer.gates.report import Gate, GateResult, Verdict
from trainer.quality.figures import Quality, ReasonQuality, ScenarioQuality, TaskQuality
from trainer.service.daemon import BROKER, LEASE
from trainer.service.families import RESULTS
from trainer.service.maturity import Maturity
from trainer.service.metrics import TrainerMetrics
from trainer.service.schedule import Reason, Rules, Schedule, Trigger
from trainer.watch.metrics import PROMISES, WatchMetrics
from trainer.watch.verdict import Finding
from trainer.watch.verdict import Verdict as SwapVerdict

KEPT = Finding(
    promise="calibration",
    task="click",
    rows=1,
    passed=1,
    kept=True,
    found=1.0,
    before=1.0,
    bounds=(0.9, 1.1),
    allowed=(0.85, 1.15),
)


def worker() -> CollectorRegistry:
    """An intercept worker."""
    metrics = WorkerMetrics()
    every = np.arange(len(REASON_LABELS), dtype=np.uint8)
    metrics.verdicts(np.ones(len(every), np.bool_), every)
    metrics.verdicts(np.zeros(1, np.bool_), np.zeros(1, np.uint8))
    metrics.scored(["click"], np.full((1, 1), 0.5, np.float32), np.full((1, 1), 0.1, np.float32))
    metrics.chunk(3, 0.1)
    metrics.latency(np.zeros(1, np.int64))
    metrics.reject(RejectCode.EMPTY)
    metrics.rate(due=0.6, requests=1, achieved=0.6, threshold=0.1, capacity=0.0)
    metrics.lag({("bid-requests", 0): 1})
    metrics.model(ServingModel("v1", 0.0))
    metrics.in_role(ModelRole.CANARY, "v2")
    metrics.versions({"v1": 3, "v2": 1})
    metrics.canary(np.ones(1, np.bool_))
    metrics.shadow_skipped(1)
    half_KT = np.full((1, 1), 0.5, np.float32)
    one_K = np.ones(1, np.bool_)
    metrics.shadowed(
        ["click"],
        would_K=one_K,
        passed_K=one_K,
        scores_2KT=(half_KT, half_KT),
        uncertainties_2KT=(half_KT, half_KT),
    )
    metrics.refused("hash-mismatch")
    metrics.refusals.refuse("control", 0, 0, "wrong")
    metrics.refusals.refuse("control", 0, 0, "nonsense")
    incidents = Incidents(metrics.registry)
    incidents.missed("bid-requests", 0, 0, 1)
    incidents.offsets_missing("bid-requests", {0: 0}, "earliest")
    incidents.partition_paused(CorruptBatchError("bid-requests", 0, 0, 9), 1.0)
    incidents.refused("bid-requests-passed", 0, [0], "its timestamp")
    incidents.writes_blocked({"bid-requests-passed": "no such topic"}, 5.0)
    incidents.throttled(1.0)
    return _whole(metrics.registry, "worker", (*CONDITIONS, MODEL))


def incidents() -> CollectorRegistry:
    """What an intercept worker or a feedback worker exports once its topics have misbehaved."""
    registry = CollectorRegistry()
    happened = Incidents(registry)
    happened.missed("bid-requests", 0, 5, 9)
    happened.offsets_missing("bid-requests", {0: 5}, "earliest")
    happened.partition_paused(CorruptBatchError("bid-requests", 0, 5, 9), 1.0)
    happened.writes_blocked({"bid-requests-passed": "no leader"}, 5.0)
    happened.refused("bid-requests-passed", 0, [5], "its timestamp")
    happened.throttled(1.0)
    return registry


def shadow() -> CollectorRegistry:
    """What an intercept worker exports of a shadow, once there is one."""
    registry = CollectorRegistry()
    families = ChallengerFamilies(registry)
    for counter in families.shadow.values():
        counter.inc()
    for role in (ModelRole.SERVE, ModelRole.SHADOW):
        families.scores.labels("click", role).inc(0.5)
        families.uncertainties.labels("click", role).inc(0.1)
    return registry


def feedback() -> CollectorRegistry:
    """A feedback worker."""
    metrics = FeedbackMetrics()
    metrics.made(Made([], left_out=1, refused=1))
    metrics.lag({("bid-requests-passed", 0): 1})
    metrics.refusals.refuse("bid-requests-passed", 0, 0, "nonsense")
    return _whole(metrics.registry, "feedback", CONDITIONS)


@dataclass
class StoreOfOne:
    """A store with one example."""

    rows: int = 1
    bytes: int = 1


def trainer() -> CollectorRegistry:
    """The trainer."""
    metrics = TrainerMetrics()
    schedule = Schedule(Rules.of(TrainerSettings()), 0.0)
    schedule.observe(1, {"click": 1})
    metrics.state(StoreOfOne(), schedule, 1, {TopicPartition("outcomes", 0): 1})
    metrics.positive("click")
    for kind in ("examples", "outcomes"):
        metrics.consumed(kind, accepted=True)
    metrics.refused_in_row(0)
    metrics.progressed(1.0)
    trigger = Trigger(Reason.EXAMPLES, "enough")
    metrics.rebuild_started(trigger, 1.0)
    for result in RESULTS:
        metrics.rebuild_finished(trigger, result, "v1", 1.0, 1.0)
    passed = GateResult(gate=Gate.LOG_LOSS, task="click", verdict=Verdict.PASS, reason="")
    metrics.gates([passed.model_copy(update={"figure": 0.01, "limit": 0.02})])
    metrics.error("store")
    watch = WatchMetrics(metrics.registry)
    watch.verdict(SwapVerdict(rows=1, final=1, findings=[KEPT]), stuck=False)
    watch.rolled_back(PROMISES[0])
    watch.failed()
    metrics.quality.matured({"click": Maturity(0.5, 10, 5)})
    figures = TaskQuality(100, 50, 0.5, 0.5, 1.0, 0.1, 0.01, 0.8, False, (1.0, 2.0, 3.0))
    reasons = {"score": ReasonQuality(1.0, 0.5)}
    scenarios = {"*": ScenarioQuality(1.0, 0.5, {"click": figures})}
    quality = Quality(
        "v1", 100, {"click": figures}, reasons, scenarios, {"site": 0.1}, {"click": 0.1}
    )
    metrics.quality.measured(quality, 1.0, alarm=False)
    metrics.refusals.refuse("training-examples", 0, 0, "nonsense")
    health = Health("trainer", [LEASE, BROKER])
    health.beat(EVENT_LOOP, 30.0)
    describe(metrics.registry, health)
    return metrics.registry


def _whole(
    registry: CollectorRegistry, role: str, conditions: tuple[str, ...]
) -> CollectorRegistry:
    health = Health(role, conditions)
    health.beat(EVENT_LOOP, 30.0)
    describe(registry, health)
    state = {
        group: GroupState({(topics[0], 0): 5}, 2) for group, topics in groups_of(Settings()).items()
    }
    GroupMetrics(registry, 2).update(state)
    return registry
