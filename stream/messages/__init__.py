"""Messages: how a record on any of Weir's topics is spelt, read and written, and nowhere else.

What a field may hold is its type, with the bounds of :mod:`models.bounds`;
:mod:`stream.messages.parsing` refuses everything else. The verifier reads headers a second time by
code of its own, on purpose: it checks this one.
"""

from models.features.bid_request import RejectCode
from stream.messages.announcement import ModelAnnouncement
from stream.messages.consumption import Spending, read_spending, write_spending
from stream.messages.control import Change, read_change, read_scenario, write_change
from stream.messages.decision import REASON_LABELS, Decision, Reason
from stream.messages.example import TrainingExample
from stream.messages.headers import (
    DECISION_HEADER,
    SEQUENCE_HEADER,
    Headers,
    own_headers,
    sequence_number,
)
from stream.messages.outcome import Outcome
from stream.messages.parsing import RecordError
from stream.messages.rate_state import PartitionState, read_state, write_state

__all__ = [
    "DECISION_HEADER",
    "REASON_LABELS",
    "SEQUENCE_HEADER",
    "Change",
    "Decision",
    "Headers",
    "ModelAnnouncement",
    "Outcome",
    "PartitionState",
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
    "sequence_number",
    "write_change",
    "write_spending",
    "write_state",
]
