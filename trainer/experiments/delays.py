"""Learning early: what each delay method closes of the gap between waiting and knowing.

A filter passes the best 1 - r of the requests of two weeks. ``TURN_AGO`` days before the snapshot
the effects turn by ``TURN`` radians. Deals take up to a week, so those who wait learn from
requests before the turn only; an oracle knows all labels at once. All learn the same nets for the
same number of epochs from what they may use, and are evaluated on the requests that pass after the
snapshot: expected log-loss under the true probabilities, per task on its population. A method
closes

    (loss of wait - loss of the method) / (loss of wait - loss of the oracle)

of the gap. ``all`` evaluates on requests that nothing filtered.

N requests, T tasks, times in ms.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from models.data.examples import Examples
from models.features import FeatureSpec
from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from models.nets.heads import LOGIT
from models.nets.teacher import build_teacher
from models.nets.weight_sets import Weights, predict_moments
from models.tasks import DEFAULT_TASKS, TaskSet
from trainer.experiments.data import Dataset, Float64Array, Mask, Score, joined
from trainer.experiments.delay_laws import Covariate, draw_delays, share_within
from trainer.experiments.labs import earlier_model
from trainer.experiments.plan import Plan
from trainer.simulation.simulator import START_MS, Simulator
from trainer.simulation.world import DAY_MS
from trainer.traffic.examples import extract
from trainer.training.config import DELAYS, TeacherTraining, TrainConfig
from trainer.training.context import FitContext
from trainer.training.delay.censoring import Censoring
from trainer.training.delay.maturity import closing_ages, is_aged, usable
from trainer.training.delay.method import DelayMethod, FitPlan, delay_method
from trainer.training.loop import cosine, deterministic, steps_per_epoch
from trainer.training.row_range import RowRange, range_of
from trainer.training.teacher import base_rates, fit_net
from trainer.uncertainty.method import Ids

TURN: Final = 0.5
FAR_DAYS: Final = 1001
"""Days after which the turned traffic is taken from a stream that turns slowly: the effects turn by
another 0.2 % of ``TURN`` in four days. A multiple of 7, so that the weekdays fit."""
ORACLE, WAIT = "oracle", "wait"
KEPT: Final = "censoring-marginal"
"""``censoring`` with a delay law without features."""
METHODS: Final = (*DELAYS, KEPT, ORACLE)


@dataclass(frozen=True, slots=True)
class DelayPlan:
    """Sizes of the experiment.

    Attributes:
        per_day: Requests a day before the filter.
        days: Days in the snapshot.
        turn_ago: Days from the turn of the effects to the snapshot.
        test_days: Days of evaluated requests after the snapshot.
        earlier: Unfiltered requests that the filter's model learned from.
        rate: Share of requests that the filter blocks, r.
        net: Kind and sizes of the nets.
        training: Batch, epochs and learning rate of every fit.
    """

    per_day: int = 6_000
    days: int = 14
    turn_ago: int = 4
    test_days: int = 4
    earlier: int = 12_000
    rate: float = 0.8
    net: TeacherConfig = TeacherConfig(embedding=4, expert=16, tower=8)
    training: TeacherTraining = TeacherTraining(batch=128, epochs=4, learning_rate=1e-3)


@dataclass(frozen=True, slots=True)
class Market:
    """Traffic of one seed.

    Attributes:
        tasks: The tasks.
        layout: Rows of the embedding table by column.
        snapshot: Passed requests of the snapshot with all events that ever happen.
        age_N: Their ages.
        passed: Passed requests after the snapshot.
        unfiltered: A sample of all requests after the snapshot, as many as ``passed``.
        covariate: What delays of the family ``bimodal`` depend on.
    """

    tasks: TaskSet
    layout: FeatureLayout
    snapshot: Dataset
    age_N: np.ndarray[tuple[int], np.dtype[np.int64]]
    passed: Dataset
    unfiltered: Dataset
    covariate: Covariate


def make_market(spec: FeatureSpec, plan: DelayPlan, context: FitContext) -> Market:
    """Simulate the traffic and filter it with a model of the days before."""
    tasks, layout = DEFAULT_TASKS, FeatureLayout.of(spec)
    before = _Stream(context.seed, 0.0, plan.per_day, spec)
    far = _Stream(context.seed, TURN / FAR_DAYS, plan.per_day, spec)
    first_day = -(-plan.earlier // plan.per_day)
    first_day += -first_day % 7
    turn_day = plan.days - plan.turn_ago
    base = replace(
        Plan.quick(1, "mlp"),
        config=replace(TrainConfig(), net=plan.net, teacher=plan.training),
    )
    start, _ = before.days(0, -(-plan.earlier // plan.per_day))
    score = earlier_model(layout, tasks, base, context)(start.take(np.arange(plan.earlier)))
    old, old_ts_N = before.days(first_day, turn_day)
    # The stream of the turned effects starts at the same weekday.
    new, new_ts_N = far.days(FAR_DAYS + (first_day + turn_day) % 7, plan.turn_ago)
    later, _ = far.days(FAR_DAYS + (first_day + plan.days) % 7 + 7, plan.test_days)
    old_ts_N -= old_ts_N.min()
    new_ts_N += turn_day * DAY_MS - new_ts_N.min()
    both, ts_N = joined([old, new]), np.concatenate([old_ts_N, new_ts_N])
    passes_K = np.flatnonzero(_passes(score, both, plan.rate))
    test_K = np.flatnonzero(_passes(score, later, plan.rate))
    sample_K = np.random.default_rng(context.seed).permutation(len(later))[: len(test_K)]
    return Market(
        tasks=tasks,
        layout=layout,
        snapshot=both.take(passes_K),
        age_N=plan.days * DAY_MS - ts_N[passes_K],
        passed=later.take(test_K),
        unfiltered=later.take(np.sort(sample_K)),
        covariate=Covariate.drawn(both.ids_NC[passes_K], layout.rows, context.seed),
    )


class _Stream:
    """Days of a simulated stream."""

    def __init__(self, seed: int, drift: float, per_day: int, spec: FeatureSpec) -> None:
        self._simulator = Simulator(seed, drift, requests_per_day=per_day)
        self._per_day, self._extractor = per_day, spec.extractor()

    def days(self, first: int, count: int) -> tuple[Dataset, np.ndarray]:
        """Requests of these days, and their times from the start of the stream."""
        traffic = self._simulator.batch(first * self._per_day, count * self._per_day)
        found = Dataset(
            extract(self._extractor, traffic.values, traffic.timestamps),
            traffic.reached.astype(np.float32),
            traffic.p_true,
            traffic.data_poor,
        )
        return found, traffic.timestamps - START_MS


def _passes(score: Score, part: Dataset, rate: float) -> Mask:
    score_N = score(part.ids_NC)
    return np.asarray(score_N > np.quantile(score_N, rate))


def observe(market: Market, law: str, seed: int) -> tuple[Examples, Examples]:
    """The snapshot as it is, with open labels, and as an oracle knows it."""
    windows_T = _windows(market.tasks)
    rng = np.random.default_rng([seed, 41])
    delay_NT = draw_delays(law, rng, market.covariate(market.snapshot.ids_NC))
    happens_NT = (market.snapshot.labels_NT == 1) & (delay_NT <= windows_T)
    delay_NT = np.where(happens_NT, delay_NT, np.nan)
    age_N1 = market.age_N[:, None]
    known = Examples(
        ts_N=-market.age_N,
        features_NC=market.snapshot.ids_NC,
        labels_NT=happens_NT.astype(np.float32),
        propensity_N=np.ones(len(market.snapshot)),
    )
    seen_NT = happens_NT & (np.nan_to_num(delay_NT) <= age_N1)
    open_NT = np.where(age_N1 <= windows_T, np.float32(np.nan), np.float32(0))
    now = replace(
        known,
        labels_NT=np.where(seen_NT, np.float32(1), open_NT),
        elapsed_N=market.age_N,
        delay_NT=np.where(seen_NT, delay_NT, np.nan),
    )
    return now, known


def measure_delays(
    market: Market, law: str, methods: tuple[str, ...], plan: DelayPlan, context: FitContext
) -> dict[str, dict[str, float]]:
    """Expected log-loss of every method by ``<requests>.<task>``, in nats.

    Args:
        market: The traffic.
        law: Name of the family of delays.
        methods: Names of methods, ``oracle`` or ``censoring-marginal``.
        plan: Nets and schedule.
        context: Seed of delays and nets.
    """
    now, known = observe(market, law, context.seed)
    truths = {
        "passed": _truth(market, market.passed, law, context.seed),
        "all": _truth(market, market.unfiltered, law, context.seed),
    }
    parts = {"passed": market.passed.ids_NC, "all": market.unfiltered.ids_NC}
    found: dict[str, dict[str, float]] = {}
    for name in methods:
        rows = rows_of(known if name == ORACLE else now, _method(name), market.tasks)
        scores = fit_and_score(rows, _method(name), market, plan, context, list(parts.values()))
        found[name] = {
            f"{part}.{task}": loss
            for part, score_NT in zip(parts, scores, strict=True)
            for task, loss in expected_loss(score_NT, truths[part], market.tasks).items()
        }
    return found


def _method(name: str) -> DelayMethod:
    if name == KEPT:
        return Censoring(features=False)
    return delay_method(WAIT if name == ORACLE else name)


def rows_of(examples: Examples, method: DelayMethod, tasks: TaskSet) -> RowRange:
    """The rows that a method learns from, in order of time."""
    closing_T = closing_ages(examples)
    aged_NT = is_aged(examples.elapsed, closing_T)
    used_N = usable(~np.isnan(examples.labels_NT), aged_NT, method.uses)
    used_K = np.flatnonzero(used_N)
    order_K = used_K[np.argsort(examples.ts_N[used_K], kind="stable")]
    rows = range_of(examples.take(order_K), closing_T, tasks)
    return rows if examples.elapsed_N is not None else replace(rows, opened=None)


def fit_and_score(
    rows: RowRange,
    method: DelayMethod,
    market: Market,
    plan: DelayPlan,
    context: FitContext,
    parts: list[Ids],
) -> list[np.ndarray]:
    """Fit a net on the rows and return its probabilities for each part, (N, T)."""
    training, tasks = plan.training, market.tasks
    correction = method.correction(rows, FitPlan(tasks.names, market.layout.rows, context.seed))
    steps = training.epochs * steps_per_epoch(len(rows), training.batch)
    with deterministic(torch.get_num_threads(), context.seed):
        net = build_teacher(market.layout, len(tasks), plan.net)
        net.start_at(LOGIT.start(base_rates(rows.targets_KT)))
        fit_net(
            net,
            rows.ids_KC,
            rows.targets_KT,
            name="net",
            training=training,
            steps=steps,
            learning_rate=lambda step: cosine(step, steps, training.learning_rate, 0.0),
            context=context,
            correction=correction,
        )
    weights: list[Weights] = [dict(net.named_parameters())]
    return [
        predict_moments(net, weights, torch.from_numpy(ids_NC))[0].numpy().astype(np.float64)
        for ids_NC in parts
    ]


def _truth(market: Market, part: Dataset, law: str, seed: int) -> Float64Array:
    """Probability of each task's event within its window, on the task's population."""
    assert part.p_true_NT is not None
    hidden_N = market.covariate(part.ids_NC)
    within_NT = share_within(law, seed, hidden_N, _windows(market.tasks))
    return np.asarray(part.p_true_NT * within_NT)


def expected_loss(
    scores_NT: Float64Array, truth_NT: Float64Array, tasks: TaskSet
) -> dict[str, float]:
    """Expected log-loss per task; rows count by their probability to be in its population."""
    scores_NT = scores_NT.clip(1e-7, 1 - 1e-7)
    loss_NT = -truth_NT * np.log(scores_NT) - (1 - truth_NT) * np.log1p(-scores_NT)
    over_all_NT = tasks.on_all_requests(truth_NT.astype(np.float32))
    found = {}
    for column, task in enumerate(tasks):
        weight_N = None
        if task.population != "all":
            weight_N = over_all_NT[:, tasks.index(task.population)]
        found[task.name] = float(np.average(loss_NT[:, column], weights=weight_N))
    return found


def _windows(tasks: TaskSet) -> Float64Array:
    return np.array([task.window_s * 1000 for task in tasks])
