import pytest

from models.artifact.manifest import TaskMetrics
from trainer.evaluation.gates import Gate, GateLimits, check_gates
from trainer.evaluation.metrics import Evaluation


def evaluation(agreement: float = 1e-7, **changes: float | None) -> Evaluation:
    figures: dict[str, float | int | None] = {
        "rows": 5000,
        "positives": 1000,
        "auc_roc": 0.8,
        "auc_pr": 0.5,
        "log_loss": 0.4,
        "ece": 0.01,
    }
    task = TaskMetrics.model_validate(figures | changes)
    return Evaluation(version="v", tasks={"click": task}, agreement=agreement)


def failed(candidate: Evaluation, serving: Evaluation | None) -> set[Gate]:
    return {result.gate for result in check_gates(candidate, serving) if not result.passed}


@pytest.mark.parametrize(
    ("changes", "gates"),
    [
        ({}, set()),
        ({"auc_roc": 0.791}, set()),
        ({"auc_roc": 0.789}, {Gate.AUC}),
        ({"log_loss": 0.407}, set()),
        ({"log_loss": 0.409}, {Gate.LOG_LOSS}),
        ({"ece": 0.029}, set()),
        ({"ece": 0.031}, {Gate.CALIBRATION}),
        ({"agreement": 1e-4}, {Gate.AGREEMENT}),
        ({"agreement": float("nan")}, {Gate.AGREEMENT}),
        ({"auc_roc": 0.5, "ece": 0.2}, {Gate.AUC, Gate.CALIBRATION}),
    ],
)
def test_each_gate_stops_what_is_worse(changes: dict[str, float], gates: set[Gate]) -> None:
    """A candidate may be a little worse than what serves, no more."""
    assert failed(evaluation(**changes), evaluation()) == gates


@pytest.mark.parametrize("changes", [{"positives": 49}, {"positives": 4951}, {"auc_roc": None}])
def test_too_few_rows_decide_nothing(changes: dict[str, float | int | None]) -> None:
    """A task with too few rows of one class passes, and its reason says why."""
    candidate = evaluation(**({"auc_roc": 0.1, "log_loss": 9.0, "ece": 0.9} | changes))
    results = [result for result in check_gates(candidate, evaluation()) if result.task]
    assert all(result.passed for result in results)
    assert all("class" in result.reason for result in results)
    enough = GateLimits(min_positives=10)
    if changes.get("auc_roc", 0.1) is not None:
        assert not all(result.passed for result in check_gates(candidate, evaluation(), enough))


def test_the_first_candidate_must_beat_chance() -> None:
    """With nothing serving, a useless or uncalibrated candidate still fails."""
    assert failed(evaluation(), None) == set()
    assert failed(evaluation(auc_roc=0.4), None) == {Gate.AUC}
    assert failed(evaluation(ece=0.1), None) == {Gate.CALIBRATION}


def test_a_better_candidate_passes_everything() -> None:
    """Improvements never fail a gate."""
    better = evaluation(auc_roc=0.9, log_loss=0.3, ece=0.0)
    assert failed(better, evaluation()) == set()
