"""What was decided about requests when they were live: the ``weir`` headers of their records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream.messages.decision import Decision, Reason
from stream.messages.headers import DECISION_HEADER, Headers
from stream.messages.parsing import RecordError

PASS = "pass"  # noqa: S105 - a verdict
BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Logged:
    """Logged decisions of N requests.

    Attributes:
        columns: Columns ``logged_*`` of :func:`stream.replay.folder.request_schema`.
        offsets: Offset of each request in its source topic; None without a header.
        refused: Headers that could not be read.
    """

    columns: dict[str, list[Any]]
    offsets: list[int | None]
    refused: int


def read_logged(headers: Sequence[Headers], verdict: str | None) -> Logged:
    """Read the logged decisions of N requests.

    Args:
        headers: Headers of each.
        verdict: The verdict about all of them, where their topic tells it; else it is inferred.
    """
    decisions, refused = [], 0
    for of_record in headers:
        decision = None
        if any(name == DECISION_HEADER for name, _ in of_record):
            try:
                decision = Decision.from_headers(of_record)
            except RecordError:
                refused += 1
        decisions.append(decision)
    columns: dict[str, list[Any]] = {
        "logged_verdict": [_verdict(each, verdict) for each in decisions],
        "logged_reason": [None if each is None else each.reason.label for each in decisions],
        "logged_propensity": [None if each is None else each.propensity for each in decisions],
        "logged_model": [None if each is None else each.model for each in decisions],
        "logged_e": [None if each is None else each.e for each in decisions],
        "logged_threshold": [None if each is None else each.threshold for each in decisions],
    }
    return Logged(columns, [None if each is None else each.offset for each in decisions], refused)


def _verdict(decision: Decision | None, known: str | None) -> str | None:
    """The verdict behind a header, which does not say it; None where it cannot be told.

    By score a request passes with a reward over the threshold, and is blocked below it; at the
    threshold, either. A request that passes by score has propensity 1, and where there is
    exploration a blocked one has less.
    """
    if known is not None or decision is None:
        return known if decision is not None else None
    if decision.reason is not Reason.SCORE:
        return PASS
    if decision.propensity < 1.0:
        return BLOCK
    if decision.threshold is None or decision.e is None:
        return None
    if decision.e == decision.threshold:
        return None
    return PASS if decision.e > decision.threshold else BLOCK
