"""Cells: a log and two arms, reduced to what the estimators need.

Requests with the same probabilities of passing (by the log and by both arms) form a cell. Sums per
cell are all that the estimators read, so ten million requests are read once, by batches, and their
judgement costs the same as that of ten thousand.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.tasks import ALL_REQUESTS, TaskSet
from stream.offpolicy.errors import OffPolicyError

Frame = pl.DataFrame | pl.LazyFrame
Doubles = npt.NDArray[np.float64]
DIGITS: Final = 9
"""Digits to which probabilities are told apart: those of the ``weir`` header."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Sums over the requests of C cells; arrays of shape (C,).

    Only requests whose window is closed count.

    Attributes:
        mu_C: Probability that the log passes a request of the cell.
        pi_a_C: Probability that arm a passes it.
        pi_b_C: Probability that arm b passes it.
        requests_C: Number of requests.
        labelled_C: Number of those that the log passed.
        events_C: Number of those whose event happened.
        scores_C: Sum of the scores of all requests: probabilities over all requests, the mean of
            those of both arms.
        labelled_scores_C: Sum of the scores of the labelled ones.
        squares_C: Sum of the squares of these.
        event_scores_C: Sum of the scores of those whose event happened.
    """

    mu_C: Doubles
    pi_a_C: Doubles
    pi_b_C: Doubles
    requests_C: Doubles
    labelled_C: Doubles
    events_C: Doubles
    scores_C: Doubles
    labelled_scores_C: Doubles
    squares_C: Doubles
    event_scores_C: Doubles

    @property
    def rows(self) -> int:
        """Number of requests."""
        return int(self.requests_C.sum())

    @property
    def difference_C(self) -> Doubles:
        """How much more often arm a passes a request of the cell than arm b."""
        return self.pi_a_C - self.pi_b_C


def read_cells(
    requests: Frame, labels: Frame, arm_a: Frame, arm_b: Frame | None, tasks: TaskSet, task: str
) -> Cells:
    """Reduce frames with the same requests in the same order.

    A window counts as closed up to the latest request with a label: labels are null after it.

    Args:
        requests: Columns ``request_id``, ``timestamp``, ``logged_verdict``, ``logged_propensity``.
        labels: Columns ``request_id``, ``label_<task>``.
        arm_a: Columns ``request_id``, ``verdict``, ``propensity``, ``score_<task>``.
        arm_b: The same of another arm; None for one that passes nothing.
        tasks: The tasks.
        task: Name of the one to read.

    Raises:
        OffPolicyError: If a column is missing, or the requests are not the same.
    """
    parts = {
        "requests": select(
            requests,
            "requests",
            id_requests=pl.col("request_id"),
            time=pl.col("timestamp"),
            passed=pl.col("logged_verdict") == "pass",
            mu=passing("logged_verdict", "logged_propensity"),
        ),
        "labels": select(
            labels, "labels", id_labels=pl.col("request_id"), label=pl.col(f"label_{task}")
        ),
        "arm_a": select(
            arm_a,
            "arm_a",
            id_arm_a=pl.col("request_id"),
            pi_a=passing("verdict", "propensity"),
            score=_score(arm_a, tasks, task),
        ),
    }
    if arm_b is not None:
        parts["arm_b"] = select(
            arm_b,
            "arm_b",
            id_arm_b=pl.col("request_id"),
            pi_b=passing("verdict", "propensity"),
            score_b=_score(arm_b, tasks, task),
        )
    _refuse_other_lengths(parts)
    joined = pl.concat(list(parts.values()), how="horizontal")
    if arm_b is None:
        joined = joined.with_columns(pi_b=pl.lit(0.0))
    else:
        joined = joined.with_columns(score=(pl.col("score") + pl.col("score_b")) / 2)
    others = [pl.col(f"id_{name}") for name in parts if name != "requests"]
    _refuse_strangers(joined, others)
    return _cells(joined)


def passing(verdict: str, propensity: str) -> pl.Expr:
    """Probability that a request passes, from a verdict and the verdict's probability.

    Null without a verdict. A request that passed because no model served has no propensity: 1.
    """
    probability = pl.col(propensity).fill_null(1.0)
    return (
        pl.when(pl.col(verdict) == "pass")
        .then(probability)
        .when(pl.col(verdict) == "block")
        .then(1.0 - probability)
        .round(DIGITS)
    )


def _score(arm: Frame, tasks: TaskSet, task: str) -> pl.Expr:
    """The artifact's probability over all requests; 0 where it did not score."""
    known = set(arm.lazy().collect_schema().names())
    score, name = pl.lit(1.0), task
    while name != ALL_REQUESTS:
        if f"score_{name}" not in known:
            return pl.lit(0.0)
        score, name = score * pl.col(f"score_{name}").cast(pl.Float64), tasks[name].population
    return score.fill_nan(0.0).fill_null(0.0)


def select(frame: Frame, name: str, **columns: pl.Expr) -> pl.LazyFrame:
    """Columns of a frame, by their new names.

    Raises:
        OffPolicyError: Naming the frame and the column that is missing.
    """
    lazy = frame.lazy()
    known = set(lazy.collect_schema().names())
    for column in columns.values():
        for needed in column.meta.root_names():
            if needed not in known:
                raise OffPolicyError(
                    f"{name}: the column {needed!r} is missing; pass the frames of one replay"
                )
    return lazy.select(**columns)


def _refuse_other_lengths(parts: dict[str, pl.LazyFrame]) -> None:
    counts = {
        name: part.select(pl.len()).collect(engine="streaming").item()
        for name, part in parts.items()
    }
    for name, count in counts.items():
        if count != counts["requests"]:
            raise OffPolicyError(
                f"{name}: {count:,} rows, but 'requests' has {counts['requests']:,}; pass frames "
                "with the same requests in the same order"
            )


def _refuse_strangers(joined: pl.LazyFrame, others: list[pl.Expr]) -> None:
    own = pl.col("id_requests")
    wrong = joined.select(
        (own.ne_missing(other)).sum().alias(other.meta.output_name()) for other in others
    ).collect(engine="streaming")
    for name, count in wrong.row(0, named=True).items():
        if count:
            raise OffPolicyError(
                f"{name.removeprefix('id_')}: {count:,} rows are of other requests than those of "
                "'requests'; pass frames with the same requests in the same order"
            )


def _cells(joined: pl.LazyFrame) -> Cells:
    known = pl.col("label").is_not_null()
    last = joined.select(pl.col("time").filter(known).max()).collect(engine="streaming").item()
    closed = joined.filter(pl.col("time") <= last) if last is not None else joined.limit(0)
    score, event = pl.col("score"), known & pl.col("label")
    # requests without a logged verdict, or without a label though passed, say nothing
    labelled = pl.col("passed").fill_null(value=False) & known
    mu = pl.when(pl.col("passed") & ~known).then(0.0).otherwise(pl.col("mu")).fill_null(0.0)
    found = (
        closed.with_columns(mu=mu, labelled=labelled)
        .group_by("mu", "pi_a", "pi_b")
        .agg(
            requests=pl.len(),
            labelled_count=pl.col("labelled").sum(),
            events=(event & pl.col("labelled")).sum(),
            scores=score.sum(),
            labelled_scores=score.filter(pl.col("labelled")).sum(),
            squares=(score**2).filter(pl.col("labelled")).sum(),
            event_scores=score.filter(event & pl.col("labelled")).sum(),
        )
        .sort("mu", "pi_a", "pi_b")
        .collect(engine="streaming")
    )
    names = found.columns
    return Cells(*(found[name].cast(pl.Float64).fill_null(0.0).to_numpy() for name in names))
