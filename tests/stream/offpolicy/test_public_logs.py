"""Off-policy estimates against the truth of two public experiments."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.tasks import Task, TaskSet
from stream.offpolicy.estimate import compare
from stream.offpolicy.weighted import bandit_value

DATA = Path(os.environ.get("WEIR_SHARED_DATA", Path(__file__).parents[4] / "shared/data"))
BANDIT, HILLSTROM = DATA / "open_bandit", DATA / "hillstrom" / "two_arms.csv.gz"
needs_bandit = pytest.mark.skipif(
    not BANDIT.is_dir(), reason="open_bandit absent: set WEIR_SHARED_DATA"
)
needs_hillstrom = pytest.mark.skipif(
    not HILLSTROM.is_file(), reason="hillstrom absent: set WEIR_SHARED_DATA"
)
RULES = {
    "men": pl.col("mens") == 1,
    "women": pl.col("womens") == 1,
    "new customers": pl.col("newbie") == 1,
    "old customers": pl.col("newbie") == 0,
    "urban": pl.col("zip_code") == "Urban",
    "rural": pl.col("zip_code") == "Rural",
    "web": pl.col("channel") == "Web",
    "phone": pl.col("channel") == "Phone",
    "recent": pl.col("recency") <= 4,
    "big spenders": pl.col("history") > 300,
}
"""Ten rules that pass a segment of the customers and block the rest."""


@needs_bandit
@pytest.mark.parametrize(("campaign", "concludes"), [("all", 1), ("men", 1), ("women", 0)])
def test_the_uniform_policy_from_the_log_of_another(campaign: str, concludes: int) -> None:
    """Its rate is covered, or the log is refused: women have the weight of two rows."""
    columns = ["click", "propensity_score"]
    log = pl.read_csv(BANDIT / f"bts_{campaign}.csv.gz", columns=columns)
    own = pl.read_csv(BANDIT / f"random_{campaign}.csv.gz", columns=columns)
    uniform = own["propensity_score"].to_numpy()
    found = bandit_value(
        uniform[0] / log["propensity_score"].to_numpy(),
        log["click"].to_numpy().astype(np.float64),
        0.95,
        np.random.default_rng(0),
    )
    truth = own["click"].mean()
    assert isinstance(truth, float)
    assert np.ptp(uniform) == 0
    assert found.supported == bool(concludes)
    assert found.worst <= truth <= found.best
    if concludes:
        assert found.low <= truth <= found.high
        assert found.ess > 300
    else:
        assert found.ess < 3
        assert "at least 50" in found.why


@needs_hillstrom
@pytest.mark.parametrize("task", ["visit", "conversion"])
def test_rules_by_segment_from_an_experiment(task: str) -> None:
    """An eighth of the customers is the log; the arm itself is that of the other seven eighths."""
    customers = pl.read_csv(HILLSTROM, infer_schema_length=None).with_row_index("row")
    covered = []
    for fold in range(8):
        log = customers.filter(pl.col("row") % 8 == fold)
        rest = customers.filter(pl.col("row") % 8 != fold, pl.col("treatment_mens") == 1)
        for rule in RULES.values():
            found = _value(log, rule, task)
            truth = 1000 * rest.select((rule & (pl.col(task) == 1)).mean()).item()
            assert found[0] is not None
            covered.append(found[0] <= truth <= found[1])
    by_fold = np.array(covered).reshape(8, len(RULES)).sum(axis=1)
    assert np.median(by_fold) >= 9
    assert by_fold.mean() >= 9


def _value(log: pl.DataFrame, rule: pl.Expr, task: str) -> tuple[float, float]:
    """Limits of the value of a rule that passes a segment, from half of it that was passed."""
    mailed = pl.col("treatment_mens") == 1
    ids = pl.col("row").cast(pl.String).alias("request_id")
    requests = log.select(
        ids,
        timestamp=pl.col("row").cast(pl.Int64),
        logged_verdict=pl.when(mailed).then(pl.lit("pass")).otherwise(pl.lit("block")),
        logged_propensity=pl.lit(0.5),
    )
    labels = log.select(ids, pl.when(mailed).then(pl.col(task) == 1).alias(f"label_{task}"))
    arm = log.select(
        ids,
        verdict=pl.when(rule).then(pl.lit("pass")).otherwise(pl.lit("block")),
        propensity=pl.lit(1.0),
    )
    tasks = TaskSet([Task(name=task, window_s=14 * 86_400)])
    found = compare(requests, labels, arm, None, tasks)[0]
    assert found.supported
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high
