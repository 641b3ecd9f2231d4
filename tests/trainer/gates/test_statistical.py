"""The verdicts on labels: better, worse, too little data, and what becomes of the latter."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.settings.gates import GateLimits
from tests.trainer.gates.markets import FUNNEL, ONE, market
from tests.trainer.gates.test_captured import policy, uncertainties
from trainer.gates.captured import passes
from trainer.gates.check import statistical_gates
from trainer.gates.log_loss import Scored
from trainer.gates.report import GateResult, Verdict, overall
from trainer.gates.statistical import Trying, better_gate, task_gates

NEVER: Callable[[str], int] = lambda _: 0  # noqa: E731


def tried(scored: Scored, starved: Callable[[str], int] = NEVER) -> dict[str, GateResult]:
    trying = Trying(0.01, GateLimits(), starved)
    passing = passes(scored, policy(), uncertainties(len(scored.labels_NT)))
    return {gate.name: gate for gate in statistical_gates(scored, passing, trying)}


def test_a_better_candidate_passes_everything() -> None:
    """By 2 % of the log-loss, on 20,000 rows, it passes all gates with figures and bounds."""
    found = tried(market(0, 20_000, serving_error=0.5, candidate_error=0.1)[0])
    assert {gate.verdict for gate in found.values()} == {Verdict.PASS}
    assert overall(tuple(found.values())) is Verdict.PASS
    better = found["better"]
    assert better.low is not None and better.low > 0  # noqa: PT018
    assert {"log-loss deal", "auc-pr online", "calibration click", "reward"} < found.keys()
    for gate in found.values():
        assert gate.low is not None and gate.high is not None and gate.figure is not None  # noqa: PT018
        assert gate.low <= gate.figure <= gate.high
        assert gate.needed is None


@pytest.mark.parametrize("seed", range(5))
def test_an_equal_candidate_is_not_enough(seed: int) -> None:
    """What is not shown to be better is held, though nothing is shown against it."""
    found = tried(market(seed, 10_000)[0])
    assert found["better"].verdict is not Verdict.PASS
    assert found["log-loss click"].verdict is Verdict.PASS


def test_what_is_worse_fails_where_it_is_worse() -> None:
    """Scores of one task in reverse order, and those of another off by 1.5."""
    scored, _ = market(0, 20_000, serving_error=0.1, candidate_error=0.1)
    inverted_NT, off_NT = scored.candidate_NT.copy(), scored.candidate_NT.copy()
    inverted_NT[:, 2] = np.sort(inverted_NT[:, 2])[::-1][np.argsort(np.argsort(inverted_NT[:, 2]))]
    found = tried(replace(scored, candidate_NT=inverted_NT))
    failed = {name for name, gate in found.items() if gate.verdict is Verdict.FAIL}
    assert failed >= {"better", "log-loss deal", "auc-pr deal", "reward"}
    assert not any("click" in name for name in failed)
    off_NT[:, 2] = np.minimum(off_NT[:, 2] * 1.5, 1)
    found = tried(replace(scored, candidate_NT=off_NT))
    assert found["calibration deal"].verdict is Verdict.FAIL
    assert found["auc-pr deal"].verdict is Verdict.PASS


def test_few_positives_are_no_pass_but_end() -> None:
    """A task without data holds a candidate, says what it needs, and is waived in the end."""
    scored, _ = market(0, 20_000, serving_error=0.5, candidate_error=0.1)
    labels_NT = scored.labels_NT.copy()
    labels_NT[200:, 2] = np.nan
    scarce = replace(scored, labels_NT=labels_NT)
    found = tried(scarce)
    assert found["better"].verdict is Verdict.PASS
    held = [name for name, gate in found.items() if gate.verdict is Verdict.HOLD]
    assert set(held) >= {"log-loss deal", "auc-pr deal", "calibration deal"}
    assert all(found[name].starved for name in held)
    few = found["auc-pr deal"]
    assert few.needed == 50 - int(np.nansum(labels_NT[:, 2]))
    assert "at least 50 are needed" in few.reason
    assert overall(tuple(found.values())) is Verdict.HOLD
    later = tried(scarce, starved=lambda _: 2)
    assert {later[name].verdict for name in held} == {Verdict.WAIVED}
    assert overall(tuple(later.values())) is Verdict.PASS
    assert "waived" in later["log-loss deal"].reason


def test_want_of_data_excuses_no_harm() -> None:
    """What is shown to be worse fails, however often data were lacking; BETTER is never waived."""
    scored, _ = market(0, 2_000, tasks=ONE)
    opposite = replace(scored, candidate_NT=1 - scored.candidate_NT)
    trying = Trying(0.01, GateLimits(min_positives=10_000), lambda _: 9)
    log_loss = task_gates("click", opposite.task(0), trying)[0]
    assert log_loss.verdict is Verdict.FAIL
    assert better_gate(market(1, 300, tasks=ONE)[0], trying).verdict is Verdict.HOLD


def test_how_many_more_rows_would_do() -> None:
    """Five times what is asked for shows a small improvement; no number shows a worse model."""
    scored, _ = market(3, 1_000, serving_error=0.3, candidate_error=0.1)
    trying = Trying(0.001, GateLimits(), NEVER)
    held = better_gate(scored, trying)
    assert held.verdict is Verdict.HOLD
    assert held.needed is not None
    assert f"about {held.needed:,} more rows" in held.reason
    more, _ = market(4, 5 * (1_000 + held.needed), serving_error=0.3, candidate_error=0.1)
    assert better_gate(more, trying).verdict is Verdict.PASS
    worse = better_gate(market(5, 300, candidate_error=0.6)[0], trying)
    assert (worse.verdict, worse.needed) == (Verdict.HOLD, None)
    assert "no number of rows" in worse.reason


def test_a_task_without_rows_is_held() -> None:
    """No label known yet: all its gates are held for want of data, and nothing breaks."""
    scored, _ = market(0, 100)
    none = replace(scored, labels_NT=np.full_like(scored.labels_NT, np.nan))
    found = tried(none)
    assert {gate.verdict for gate in found.values()} == {Verdict.HOLD}
    assert [task.name for task in FUNNEL] == ["click", "online", "deal"]
