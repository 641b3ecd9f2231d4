"""The delay methods on JD.com's requests, with their real delays.

The requests are cut at moments some days apart, as snapshots of the weeks before. These data teach
hardly anything about single requests, so what is compared is the rate of each task: the one that
minimises a method's loss, against the share of the snapshot's requests whose event did come within
the window. ``wait`` and ``mask`` estimate it from their final rows.

N requests, T tasks, S snapshots.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.data.examples import Examples
from models.nets.losses import bce_by_task, masked_mean
from models.tasks import ALL_REQUESTS, Task, TaskSet
from trainer.experiments.data import Float64Array
from trainer.experiments.delays import rows_of
from trainer.traffic.jd import EVENT_TYPES, JdRequests
from trainer.training.delay.method import Correction, FitPlan, delay_method
from trainer.training.row_range import RowRange

DAY_MS: Final = 86_400_000
SPAN_DAYS: Final = 28
EVERY_DAYS: Final = 3
STEPS: Final = 150


def snapshots(jd: JdRequests) -> Iterator[tuple[Examples, Float64Array]]:
    """Snapshots with open labels, and the rates (T,) that their requests turned out to have.

    Every label of a snapshot is known at the end of the data. Populations are all requests: the
    steps of these data are not nested.
    """
    traffic, tasks = jd.traffic, jd.tasks
    window_T = np.array([task.window_s * 1000 for task in tasks])
    first, last = int(traffic.timestamps[0]), jd.end_ms - int(window_T.max())
    happens_NT = traffic.reached & (traffic.delays_s * 1000 <= window_T)
    for end in range(first + SPAN_DAYS * DAY_MS, last, EVERY_DAYS * DAY_MS):
        age_N = end - traffic.timestamps
        rows_K = np.flatnonzero((age_N > 0) & (age_N <= SPAN_DAYS * DAY_MS))
        age_K1, delay_KT = age_N[rows_K, None], traffic.delays_s[rows_K] * 1000
        seen_KT = happens_NT[rows_K] & (delay_KT <= age_K1)
        open_KT = np.where(age_K1 > window_T, np.float32(0), np.float32(np.nan))
        examples = Examples(
            ts_N=traffic.timestamps[rows_K],
            features_NC=np.zeros((len(rows_K), 1), np.int32),
            labels_NT=np.where(seen_KT, np.float32(1), open_KT),
            propensity_N=np.ones(len(rows_K)),
            elapsed_N=age_N[rows_K],
            delay_NT=np.where(seen_KT, delay_KT, np.nan),
        )
        yield examples, happens_NT[rows_K].mean(axis=0)


def rates(rows: RowRange, correction: Correction | None) -> Float64Array:
    """The rates (T,) that minimise the loss of these rows."""
    start_T = rows.targets_KT.nanmean(0).clamp(1e-4, 1 - 1e-4).logit()
    logits_T = start_T.clone().requires_grad_()
    every_K = torch.arange(len(rows))
    optimizer = torch.optim.Adam([logits_T], lr=0.02)
    for _ in range(STEPS):
        optimizer.zero_grad()
        logits_KT = logits_T.expand(len(rows), -1)
        torch.autograd.backward(_loss(logits_KT, rows, correction, every_K))
        optimizer.step()
    return logits_T.detach().sigmoid().double().numpy()


def _loss(
    logits_KT: Tensor, rows: RowRange, correction: Correction | None, every_K: Tensor
) -> Tensor:
    if correction is None:
        return bce_by_task(logits_KT, rows.targets_KT).sum()
    losses_KT = correction.losses(logits_KT, every_K)
    return masked_mean(lambda _: losses_KT, correction.targets_NT).sum()


def measure_jd(jd: JdRequests, names: tuple[str, ...]) -> dict[str, Float64Array]:
    """Estimated over true rate of every snapshot and task by method, (S, T)."""
    if any(task.population != ALL_REQUESTS for task in jd.tasks):
        raise ValueError(
            "jd: the rates are those among all requests; give tasks of that population"
        )
    found: dict[str, list[Float64Array]] = {name: [] for name in names}
    for examples, truth_T in snapshots(jd):
        for name in names:
            method = delay_method(name)
            rows = rows_of(examples, method, jd.tasks)
            correction = method.correction(rows, FitPlan(jd.tasks.names, 1, 0))
            found[name].append(rates(rows, correction) / truth_T)
    return {name: np.array(ratios) for name, ratios in found.items()}


def jd_tasks(window_s: float) -> TaskSet:
    """The four tasks of JD with one window, all on all requests."""
    return TaskSet(Task(name=name, window_s=window_s) for name in EVENT_TYPES)
