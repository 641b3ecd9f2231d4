"""The journal of an intercept worker, on the topic ``decision-journal``; the key names the worker.

A record is a `Block`: a numbered piece of a stream of lists of entries. Entries are what a later
replay needs beside the requests themselves, in the order in which it happened: the batches that
were decided, by offset, and every call that changed the policy, with its arguments as they came.
All of it is msgpack, arrays without names, so that a batch of a thousand requests takes some thirty
bytes.
"""

from collections.abc import Sequence
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from models import bounds
from models.artifact.manifest import SHA256_PATTERN
from stream.messages.parsing import RecordError

T = TypeVar("T")

FORMAT: Final = 1
"""Number of this format; a reader refuses any other."""
MAX_RUN: Final = 1 << 20
"""Requests of a batch; a worker decides 1,024 at a time."""

Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Partition = Annotated[int, Meta(ge=0, le=bounds.MAX_PARTITION)]
ScenarioName = Annotated[str, Meta(max_length=bounds.MAX_SCENARIO_NAME)]


class Run(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Consecutive requests of a batch that are of one partition, in the order of their offsets.

    Attributes:
        partition: Their partition.
        first: Offset of the first.
        span: Offset of the last less that of the first.
        count: Their number; less than ``span + 1`` where the partition has gaps.
    """

    partition: Partition
    first: Offset
    span: Annotated[int, Meta(ge=0, le=2**53)]
    count: Annotated[int, Meta(ge=1, le=MAX_RUN)]

    @property
    def last(self) -> int:
        """Offset of the last request."""
        return self.first + self.span


class _Entry(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Base of the entries: a msgpack array that begins with the number of its type."""


class Started(_Entry, frozen=True, tag=0):
    """The worker started: always the first entry.

    Attributes:
        worker: Name under which its policy publishes states.
        at_ms: Wall-clock time.
        release: Version of Weir.
        settings: JSON of the settings that decisions depend on.
    """

    worker: Annotated[str, Meta(min_length=1, max_length=bounds.MAX_WORKER_NAME)]
    at_ms: Count
    release: Annotated[str, Meta(max_length=bounds.MAX_VERSION)]
    settings: bytes


class ModelLoaded(_Entry, frozen=True, tag=1):
    """The number of a model in later batches.

    Attributes:
        number: From 1.
        version: Its version.
        manifest_sha256: Hash of its manifest.
    """

    number: Annotated[int, Meta(ge=1, le=2**31)]
    version: Annotated[str, Meta(max_length=bounds.MAX_VERSION)]
    manifest_sha256: Annotated[str, Meta(pattern=SHA256_PATTERN)]


class BatchDecided(_Entry, frozen=True, tag=2):
    """A batch was decided.

    Attributes:
        now_ms: Wall-clock time that the policy was given.
        model: Number of the model that decided; 0 for none, when everything passes.
        runs: The requests, in their order.
    """

    now_ms: Count
    model: Annotated[int, Meta(ge=0, le=2**31)]
    runs: Annotated[tuple[Run, ...], Meta(min_length=1)]


class EvidenceUsed(_Entry, frozen=True, tag=3):
    """`Policy.use_evidence` with this JSON of an `AutoEvidence`; None for no evidence."""

    evidence: bytes | None


class ChangeApplied(_Entry, frozen=True, tag=4):
    """`Policy.apply_change` with the value of a record on ``control``."""

    scenario: ScenarioName
    change: bytes | None


class SpendingApplied(_Entry, frozen=True, tag=5):
    """`Policy.apply_spending` with the value of a record on ``consumption``."""

    scenario: ScenarioName
    spending: bytes


class Assigned(_Entry, frozen=True, tag=6):
    """`Policy.assign` with these arguments."""

    partitions: tuple[Partition, ...]
    partition_count: Count


class StatesMerged(_Entry, frozen=True, tag=7):
    """`Policy.merge` with the states of these keys and values of ``rate-state``."""

    states: tuple[tuple[bytes, bytes], ...]


class ScenarioExpired(_Entry, frozen=True, tag=8):
    """`Policy.expire` with this scenario."""

    scenario: ScenarioName


class FleetReset(_Entry, frozen=True, tag=9):
    """`Policy.reset_fleet`."""


class SummariesMade(_Entry, frozen=True, tag=10):
    """`Policy.summaries` with this time since the call before, in seconds."""

    elapsed_s: float


class SettingsSettled(_Entry, frozen=True, tag=11):
    """Changes of settings took effect, in a call of the policy before or after this entry."""


class ScenarioHeld(_Entry, frozen=True, tag=13):
    """`Policy.hold` with this scenario."""

    scenario: ScenarioName


class SummaryAcknowledged(_Entry, frozen=True, tag=14):
    """`Policy.acknowledge` with these arguments."""

    scenario: ScenarioName
    sequence: Count
    offset: Offset


class Stopped(_Entry, frozen=True, tag=12):
    """The worker stopped as it was asked to: always the last entry."""


Entry = (
    Started
    | ModelLoaded
    | BatchDecided
    | EvidenceUsed
    | ChangeApplied
    | SpendingApplied
    | Assigned
    | StatesMerged
    | ScenarioExpired
    | ScenarioHeld
    | FleetReset
    | SummariesMade
    | SummaryAcknowledged
    | SettingsSettled
    | Stopped
)


class Block(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A record of the topic.

    Attributes:
        form: `FORMAT`.
        number: Its number in the journal of its worker, from 0, without gaps.
        more: Whether the list of entries goes on in the next block.
        part: The list of entries, or a piece of it.
    """

    form: int
    number: Count
    more: bool
    part: bytes


_ENCODER: Final = msgspec.msgpack.Encoder()
_ENTRIES: Final = msgspec.msgpack.Decoder(list[Entry])
_BLOCK: Final = msgspec.msgpack.Decoder(Block)


def write_entry(entry: Entry) -> bytes:
    """An entry, for :func:`write_entries`."""
    return _ENCODER.encode(entry)


def write_entries(entries: Sequence[bytes]) -> bytes:
    """The list of entries that :func:`write_entry` returned."""
    return _ENCODER.encode([msgspec.Raw(entry) for entry in entries])


def read_entries(raw: bytes) -> list[Entry]:
    """The entries of a list.

    Raises:
        RecordError: Naming the entry and the field that is wrong.
    """
    return _decode(raw, _ENTRIES, "journal", bounds.MAX_JOURNAL_LIST_BYTES)


def write_block(number: int, part: bytes, *, more: bool) -> bytes:
    """The value of a record."""
    return _ENCODER.encode(Block(FORMAT, number, more, part))


def read_block(value: bytes | None) -> Block:
    """Read the value of a record.

    Raises:
        RecordError: Naming what is wrong.
    """
    block = _decode(value or b"", _BLOCK, "journal block", bounds.MAX_JOURNAL_RECORD_BYTES)
    if block.form != FORMAT:
        raise RecordError(f"journal block: format {block.form}; this release reads {FORMAT}")
    return block


def _decode(raw: bytes, decoder: msgspec.msgpack.Decoder[T], what: str, most: int) -> T:
    if len(raw) > most:
        raise RecordError(f"{what}: {len(raw)} bytes; at most {most} are read")
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{what}: {error}") from error
    except RecursionError as error:
        raise RecordError(f"{what}: nested too deeply") from error
