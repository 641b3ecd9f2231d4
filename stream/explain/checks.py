"""The log against the computation: reward, propensity, verdict, and with a history the threshold.

What one record determines is e, the draw of exploration, and with the logged threshold the
verdict. The threshold itself is a function of all requests before (:mod:`stream.explain.history`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.settings import ScenarioSettings
from stream.explain.history import Replayed
from stream.explain.recompute import ModelUsed, Scored, same_float32
from stream.explain.search import Found
from stream.messages import Decision, Reason

_OTHER: Final = (
    "the replayed history is not the one that was decided: a rate that workers share (rate-state), "
    "several partitions, a worker that was restarted, another model before, a change on control or "
    "consumption, or requests that retention has deleted"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One logged figure against the computed one.

    Attributes:
        name: What is compared.
        logged: As it is in the log; None where the log has none.
        computed: As it was computed; None where it cannot be.
        equal: Whether they are the same; None where there is nothing to compare.
        why: What follows from that, or which part of the history is missing.
        by_history: Whether the computed figure is that of a replay of its history.
    """

    name: str
    logged: Any
    computed: Any
    equal: bool | None
    why: str = ""
    by_history: bool = False


def check_decision(
    decision: Decision, passed: bool, scored: Scored, model: ModelUsed
) -> list[Check]:
    """Reward, propensity and verdict of a logged decision of a model, each against its computation.

    The verdict follows from e, the logged threshold, the draw and the reason.

    Args:
        decision: The decision.
        passed: Whether the request passed.
        scored: The same request, scored again.
        model: The model that scored it.
    """
    return [
        _check_reward(decision, scored, model),
        _check_propensity(decision, passed, scored),
        _check_verdict(decision, passed, scored),
    ]


def _check_reward(decision: Decision, scored: Scored, model: ModelUsed) -> Check:
    computed = None if np.isnan(scored.e) else float(scored.e)
    equal = same_float32(scored.e, decision.e)
    why = ""
    if not equal and not model.named:
        why = model.missing
    elif not equal:
        why = (
            "no known settings give it: a setting that values requests (reward, weights, "
            "confidence, kappa, reference, uncertainty_source) was another one then; give the "
            "weir.toml of that time with --config (a later change on control replaces earlier ones)"
        )
    return Check("e", decision.e, computed, equal, why)


def _check_propensity(decision: Decision, passed: bool, scored: Scored) -> Check:
    """1 for what passes without exploring; eps or 1 - eps for all others."""
    if decision.reason in {Reason.UNCERTAIN, Reason.FAIL_OPEN} or (
        passed and decision.reason is Reason.SCORE
    ):
        equal = decision.propensity == 1.0
        return Check("propensity", decision.propensity, 1.0, equal, "it passes in any case")
    eps = exploration(scored.settings)
    if eps is None:
        why = (
            "with a capacity, or a rate that spending moves, it depends on the traffic before: "
            "--history"
        )
        return Check("propensity", decision.propensity, None, None, why)
    computed = eps if passed else 1.0 - eps
    equal = f"{computed:.9g}" == f"{decision.propensity:.9g}"
    why = ""
    if not equal:
        other = decision.propensity if passed else 1.0 - decision.propensity
        why = (
            f"explore was {other:.6g} then, and is {eps:.6g} in the settings: another revision "
            "of explore or rate, or another share of the fleet's rate, was in force"
        )
    return Check("propensity", decision.propensity, computed, equal, why)


def exploration(settings: ScenarioSettings) -> float | None:
    """The eps of one worker under resolved settings; None where it varies with the traffic.

    As :class:`stream.policy.rate.controller.InterceptionController` sets it: within the passes.
    """
    if settings.capacity is not None or settings.consumption is not None:
        return None
    direct = 0.0
    if settings.confidence == "pass-uncertain" and settings.direct_share != "auto":
        direct = min(settings.direct_share, 1.0 - settings.rate)
    room = (1.0 - settings.rate - direct) / (1.0 - direct) if direct < 1.0 else 0.0
    return min(settings.explore, room)


def _check_verdict(decision: Decision, passed: bool, scored: Scored) -> Check:
    logged = "pass" if passed else "block"
    if decision.threshold is None:
        return Check("verdict", logged, "pass", passed, "no model served: everything passed")
    if decision.reason is Reason.UNCERTAIN:
        why = "its uncertainty passed it directly; the threshold of u depends on those before"
        return Check("verdict", logged, None, None, f"{why}: --history")
    # A reward that is no number ranks below every other one.
    e = -np.inf if np.isnan(scored.e) else np.float32(scored.e)
    threshold = np.float32(decision.threshold)
    if decision.reason is Reason.EXPLORE:
        explored = scored.draw < decision.propensity and e <= threshold
        why = f"the draw {scored.draw:.6g} is below its propensity"
        computed = "pass" if explored else "block"
        return Check("verdict", logged, computed, computed == logged, why if explored else "")
    if e == threshold:
        why = "e is the threshold itself; ties are broken by the position in the stream: --history"
        return Check("verdict", logged, None, None, why)
    sign = ">" if e > threshold else "<"
    computed = "pass" if e > threshold else "block"
    why = f"e {sign} threshold"
    if computed == "block" and decision.propensity < 1.0:
        eps = 1.0 - decision.propensity
        why += f", and the draw {scored.draw:.6g} is not below explore = {eps:.6g}"
        if scored.draw < eps:
            computed, why = "pass", f"the draw {scored.draw:.6g} is below explore = {eps:.6g}"
    return Check("verdict", logged, computed, computed == logged, why)


def check_log(found: Found, verdict: str | None, scored: Scored, used: ModelUsed) -> list[Check]:
    """What was logged about a request, against its computation; none without a decision.

    Args:
        found: Its record.
        verdict: ``pass`` or ``block``; None where a file does not tell.
        scored: The request, scored again.
        used: The model that scored it.
    """
    decision = found.decision
    if decision is None:
        return []
    if not decision.model:
        why = "no model served: everything passed, and nothing was scored"
        return [Check("verdict", verdict, "pass", verdict == "pass", why)]
    if verdict is None:
        why = "e is the threshold itself, and the file does not say whether the request passed"
        return [
            _check_reward(decision, scored, used),
            Check("verdict", None, None, None, why),
        ]
    return check_decision(decision, verdict == "pass", scored, used)


def check_history(
    checks: Sequence[Check], decision: Decision, verdict: str | None, replayed: Replayed
) -> list[Check]:
    """The checks with what a replay of the history adds: threshold, reason, and what was open.

    Args:
        checks: Those of :func:`check_log`.
        decision: The logged decision.
        verdict: The logged verdict.
        replayed: The request at the end of its history.
    """
    worker = replayed.worker
    computed = "pass" if replayed.passed else "block"
    probable = f"{replayed.propensity:.9g}" == f"{decision.propensity:.9g}"
    same = same_float32(replayed.threshold, decision.threshold)
    label = decision.reason.label
    by_history = {
        "verdict": _by_history("verdict", verdict, computed, verdict == computed, worker),
        "propensity": _by_history(
            "propensity", decision.propensity, replayed.propensity, probable, worker
        ),
    }
    return [
        *(by_history[check.name] if check.equal is None else check for check in checks),
        _by_history("threshold", decision.threshold, replayed.threshold, same, worker),
        _by_history("reason", label, replayed.reason, label == replayed.reason, worker),
    ]


def _by_history(name: str, logged: Any, computed: Any, equal: bool, worker: str) -> Check:
    """A figure of its history; that of its worker's own journal must be the same."""
    if worker:
        why = f"the journal of worker {worker}"
        why += "" if equal else " gives another one: `weir reproduce` shows since when"
        return Check(name, logged, computed, equal, why)
    why = "a replay of its history" if equal else _OTHER
    return Check(name, logged, computed, equal, why, by_history=True)


def missing_parts(
    found: Found,
    used: ModelUsed,
    checks: Sequence[Check],
    replayed: Replayed | None,
    *,
    asked: bool,
) -> list[str]:
    """Which parts of the history are missing, in words.

    Args:
        found: The request's record.
        used: The model.
        checks: The log against the computation.
        replayed: The request at the end of its history.
        asked: Whether a replay of the history was asked for.
    """
    missing = [] if used.named or not used.missing else [used.missing]
    missing += [
        f"{check.name}: {check.why}"
        for check in checks
        if check.equal is not True and check.why != used.missing
    ]
    if found.decision is None and replayed is None:
        missing.append("no decision of this request was found: it was only scored here")
    if replayed is None and asked:
        missing.append("the history: the source of the requests does not have this one any more")
    elif replayed is None:
        missing.append("debt: --history decides all requests before this one again and gives it")
    return list(dict.fromkeys(missing))
