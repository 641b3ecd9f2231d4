"""``gates.json``: what it says, and how verdicts add up."""

import pytest
from pydantic import ValidationError

from models.settings.gates import GateLimits
from trainer.gates.report import Gate, GateReport, GateResult, Promise, Verdict, overall


def result(gate: Gate, verdict: Verdict, *, starved: bool = False) -> GateResult:
    return GateResult(gate=gate, task="deal", verdict=verdict, reason="why", starved=starved)


def report(*gates: GateResult) -> GateReport:
    return GateReport(
        candidate="v2",
        serving=None,
        serving_sha256="0" * 64,
        trial=3,
        alpha=0.05,
        alpha_k=0.01,
        rows=10,
        rate=0.6,
        verdict=overall(gates),
        gates=gates,
        promised={},
        reward_per_pass=None,
    )


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ([Verdict.PASS, Verdict.WAIVED], Verdict.PASS),
        ([Verdict.PASS, Verdict.HOLD], Verdict.HOLD),
        ([Verdict.HOLD, Verdict.FAIL, Verdict.PASS], Verdict.FAIL),
    ],
)
def test_the_worst_gate_decides(verdicts: list[Verdict], together: Verdict) -> None:
    """A waived gate does not keep a candidate back, all else does."""
    assert overall(tuple(result(Gate.REWARD, verdict) for verdict in verdicts)) is together


def test_the_file_can_be_read_again() -> None:
    """Byte for byte the same content, and what kept the candidate back as sentences."""
    written = report(
        result(Gate.LOG_LOSS, Verdict.PASS),
        result(Gate.AUC_PR, Verdict.HOLD, starved=True),
        result(Gate.CALIBRATION, Verdict.WAIVED, starved=True),
        result(Gate.REWARD, Verdict.FAIL),
    )
    read = GateReport.model_validate_json(written.to_bytes())
    assert read == written
    assert read.refusals == ["auc-pr deal: why", "reward deal: why"]


def test_what_is_no_number_is_refused() -> None:
    """Neither limits nor figures may be infinite or NaN, and nothing is misspelt."""
    with pytest.raises(ValidationError):
        GateLimits(alpha=1.0)
    with pytest.raises(ValidationError):
        GateLimits(reward=float("nan"))
    with pytest.raises(ValidationError):
        GateLimits.model_validate({"rewards": 1})


@pytest.mark.parametrize(
    ("newest_s", "median_s", "words"),
    [
        (None, None, ""),
        (660.0, 7_300.0, "of requests 11.0 min old or older, half of them 2.0 h"),
        (608_400.0, 950_400.0, "of requests 7.0 days old or older, half of them 11.0 days"),
        (59.0, 60.0, "of requests 59 s old or older, half of them 60 s"),
    ],
)
def test_the_age_of_evidence_is_said_in_words(
    newest_s: float | None, median_s: float | None, words: str
) -> None:
    promise = Promise(
        rows=1,
        positives=1,
        mean_score=0.1,
        label_rate=0.1,
        passed_mean_score=0.1,
        passed_label_rate=0.1,
        newest_s=newest_s,
        median_s=median_s,
    )
    assert promise.age == words
