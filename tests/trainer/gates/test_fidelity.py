"""The gates that need no labels, on tiny artifacts."""

import itertools

import numpy as np
import pytest

from models.artifact import load_artifact
from models.artifact.manifest import Metrics
from models.settings.gates import GateLimits
from tests.tiny_artifact import Make
from trainer.gates.fidelity import (
    agreement_gate,
    features_gate,
    seen_ids,
    teacher_gates,
    time_gate,
)
from trainer.gates.report import Gate, Verdict

LIMITS = GateLimits()


@pytest.mark.parametrize(
    ("agreement", "verdict"),
    [(1e-7, Verdict.PASS), (1e-4, Verdict.FAIL), (float("nan"), Verdict.FAIL)],
)
def test_the_export_must_agree(agreement: float, verdict: Verdict) -> None:
    """A difference that is no number is no agreement, and the report can still be written."""
    result = agreement_gate(agreement, LIMITS)
    assert result.verdict is verdict
    assert result.model_dump_json()


def test_the_student_must_order_as_its_teacher_does() -> None:
    """Scores and uncertainties have limits of their own; the tails are named."""
    metrics = Metrics(
        teacher={},
        student={},
        uncertainty_spearman={"click": 0.6, "deal": 0.2},
        score_spearman={"click": 0.95, "deal": 0.79},
        uncertainty_tail={"click": 0.41},
    )
    found = {result.name: result for result in teacher_gates(metrics, LIMITS)}
    assert {name for name, result in found.items() if result.verdict is Verdict.FAIL} == {
        "teacher-score deal",
        "teacher-uncertainty deal",
    }
    assert "41% of the teacher's most uncertain tenth" in found["teacher-uncertainty click"].reason


def test_a_slower_student_is_refused(make_artifact: Make) -> None:
    """Medians of rounds in which both take turns: one slow round does not count."""
    artifact = load_artifact(make_artifact())
    ids_NC = np.ones((100, 3), np.int16)

    def clock(candidate_s: float, serving_s: float, hiccup_s: float = 0.0):  # type: ignore[no-untyped-def]
        now = 0.0
        for turn in itertools.count():
            yield now
            now += (candidate_s, serving_s)[turn % 2] + (hiccup_s if turn == 4 else 0.0)
            yield now

    fast = clock(0.002, 0.002, hiccup_s=5.0)
    result = time_gate(artifact, artifact, ids_NC, LIMITS, lambda: next(fast))
    assert result.verdict is Verdict.PASS
    assert (result.candidate, result.serving) == pytest.approx((20.0, 20.0))
    slow = clock(0.0032, 0.002)
    result = time_gate(artifact, artifact, ids_NC, LIMITS, lambda: next(slow))
    assert (result.verdict, round(result.figure or 0, 3)) == (Verdict.FAIL, 1.6)
    alone = clock(0.02, 0.02)
    result = time_gate(artifact, None, ids_NC, LIMITS, lambda: next(alone))
    assert (result.verdict, result.figure) == (Verdict.FAIL, pytest.approx(200.0))


def test_values_that_training_never_saw_are_named(make_artifact: Make) -> None:
    """A feature that was always missing in training and is filled now, in every row."""
    spec = load_artifact(make_artifact()).spec
    training_NC = np.array([[0, 8, 8], [1, 8, 8], [2, 8, 8]], np.int32)
    seen_R = seen_ids(spec.rows, training_NC)
    assert seen_R.sum() == 4
    known = features_gate(seen_R, training_NC, spec, LIMITS)
    assert (known.gate, known.verdict, known.figure) == (Gate.FEATURES, Verdict.PASS, 0.0)
    filled = features_gate(seen_R, training_NC + np.array([0, 1, 1]), spec, LIMITS)
    assert filled.verdict is Verdict.FAIL
    assert filled.figure == pytest.approx(2 / 3)
    assert "most: segments 100.0%, segments 100.0%" in filled.reason
