"""Messages: the wire format of every topic, read and written here and nowhere else.

A module per kind of message has its type, its bounds (:mod:`models.bounds`) and both directions;
:mod:`stream.messages.parsing` refuses invalid messages. Header names and dead-letter codes are
here, too. Only the verifier reads outputs by code of its own (:mod:`stream.verify.evidence`), so
that a fault in this room cannot hide itself.
"""

from models.features.bid_request import RejectCode
from stream.messages.announcement import Cause, ModelAnnouncement, ModelRole
from stream.messages.consumption import Spending, read_spending, write_spending
from stream.messages.control import Change, read_change, read_scenario, write_change
from stream.messages.dead_letter import DeadLetter
from stream.messages.decision import REASON_LABELS, Decision, Reason
from stream.messages.example import TrainingExample
from stream.messages.headers import (
    DECISION_HEADER,
    Headers,
    own_headers,
    sequence_header,
    sequence_number,
)
from stream.messages.outcome import Outcome
from stream.messages.parsing import RecordError
from stream.messages.rate_state import FleetState, read_state, write_state
from stream.messages.rate_summary import RateSummary, read_summary, slot_of, write_summary

__all__ = [
    "DECISION_HEADER",
    "REASON_LABELS",
    "Cause",
    "Change",
    "DeadLetter",
    "Decision",
    "FleetState",
    "Headers",
    "ModelAnnouncement",
    "ModelRole",
    "Outcome",
    "RateSummary",
    "Reason",
    "RecordError",
    "RejectCode",
    "Spending",
    "TrainingExample",
    "own_headers",
    "read_change",
    "read_scenario",
    "read_spending",
    "read_state",
    "read_summary",
    "sequence_header",
    "sequence_number",
    "slot_of",
    "write_change",
    "write_spending",
    "write_state",
    "write_summary",
]
