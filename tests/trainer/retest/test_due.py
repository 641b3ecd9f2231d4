"""When a held candidate is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tasks import Task, TaskSet
from trainer.gates.report import Gate, GateReport, GateResult, Promise, Verdict, overall
from trainer.retest.due import MIN_REQUESTS, is_due, wanted

TASKS = TaskSet(
    [
        Task(name="click", window_s=60),
        Task(name="online", population="click", window_s=60),
        Task(name="deal", window_s=3600),
    ]
)
ROWS = {"click": 10_000, "online": 2_000, "deal": 4_000}
POSITIVES = {"click": 2_000, "online": 1_000, "deal": 40}


def held(
    gate: Gate = Gate.LOG_LOSS,
    task: str | None = "deal",
    needed: int | None = None,
    figure: float | None = None,
    verdict: Verdict = Verdict.HOLD,
) -> GateResult:
    return GateResult(
        gate=gate, task=task, verdict=verdict, reason="why", needed=needed, figure=figure
    )


def report(*gates: GateResult) -> GateReport:
    promised = {
        name: Promise(
            rows=ROWS[name],
            positives=POSITIVES[name],
            mean_score=0.1,
            label_rate=0.1,
            passed_mean_score=0.1,
            passed_label_rate=0.1,
        )
        for name in TASKS.names
    }
    return GateReport(
        candidate="v2",
        serving="v1",
        serving_sha256="0" * 64,
        trial=1,
        alpha=0.05,
        alpha_k=0.03,
        rows=12_000,
        rate=0.6,
        verdict=overall(gates),
        gates=gates,
        promised=promised,
        reward_per_pass=None,
    )


@pytest.mark.parametrize(
    ("gates", "numbers"),
    [
        # 10 more of 40 deals are 1,000 requests, fewer than there were: twice as many as then
        ([held(needed=10)], {"deal": 8_000}),
        # 200 more are 20,000 requests
        ([held(needed=200, figure=0.01)], {"deal": 24_000}),
        # online is a share of the clicks: 3,000 positives more are 30,000 requests
        ([held(task="online", needed=3_000, figure=0.01)], {"click": 40_000}),
        ([held(Gate.BETTER, None, needed=50_000, figure=0.01)], {"click": 60_000}),
        ([held(Gate.REWARD, None)], {"click": 20_000}),
        (
            [held(needed=10), held(Gate.BETTER, None, needed=1, figure=0.01)],
            {"deal": 8_000, "click": 20_000},
        ),
        # by its figures it is worse than the limit: more rows would not help
        ([held(figure=0.5)], None),
        ([held(needed=10), held(Gate.BETTER, None, figure=-0.1)], None),
        ([held(needed=10), held(Gate.AUC_PR, "click", verdict=Verdict.FAIL)], None),
        ([held(verdict=Verdict.PASS)], None),
    ],
)
def test_how_many_newer_requests_it_takes(
    gates: list[GateResult], numbers: dict[str, int] | None
) -> None:
    assert wanted(report(*gates), TASKS) == numbers


def test_every_task_must_have_enough() -> None:
    """Deals mature last; without them nothing is tried."""
    found = report(held(needed=10), held(Gate.BETTER, None, needed=1, figure=0.01))
    assert not is_due(found, TASKS, {"click": 90_000, "online": 90_000, "deal": 7_999})
    assert not is_due(found, TASKS, {"click": 19_999, "online": 90_000, "deal": 90_000})
    assert is_due(found, TASKS, {"click": 20_000, "online": 0, "deal": 8_000})


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.none() | st.integers(0, 10**7))
def test_evidence_at_least_doubles_from_trial_to_trial(
    rows: int, positives: int, needed: int | None
) -> None:
    """So the number of retests is a logarithm of the evidence, and none is on almost nothing."""
    few = report(held(needed=needed))
    promise = few.promised["deal"].model_copy(
        update={"rows": rows, "positives": min(positives, rows)}
    )
    few = few.model_copy(update={"promised": {**few.promised, "deal": promise}})
    numbers = wanted(few, TASKS)
    assert numbers is not None
    assert numbers["deal"] >= max(2 * rows, MIN_REQUESTS)
