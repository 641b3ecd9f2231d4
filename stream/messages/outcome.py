"""Outcomes: delayed events of passed requests, on the topic ``outcomes``."""

from typing import Final

import msgspec
from msgspec import Struct

from models import bounds
from stream.messages.fields import Millis, RequestId, TaskName
from stream.messages.parsing import decode


class Outcome(Struct, frozen=True):
    """A delayed event that a system downstream reports: a request reached a task.

    Attributes:
        request_id: The ``id`` of the bid request.
        task: Task name, e.g. ``deal``.
        ts: Time of the event, milliseconds since the epoch.
    """

    request_id: RequestId
    task: TaskName
    ts: Millis

    def to_bytes(self) -> bytes:
        """Value of a record on the ``outcomes`` topic."""
        return msgspec.json.encode(self)

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> "Outcome":
        """Read a record of the ``outcomes`` topic.

        Raises:
            RecordError: Naming the field that is missing, of the wrong type, or out of bounds.
        """
        return decode(raw, _OUTCOME, "outcome", bounds.MAX_OUTCOME_BYTES)


_OUTCOME: Final = msgspec.json.Decoder(Outcome)
