"""Times the life of every chunk, from the records' timestamps to the acknowledgement.

A chunk's life is cut into phases that follow each other without gaps, so that their durations add
up to the whole:

===================  ===============================================================================
fetch wait           from the records' timestamps (mean) until the fetch had returned them
queue                until the agent took them
read, score,         the stages of deciding, summed over the batches of the fetch (chunks of a fetch
decide, route        are decided together, so each waits for all of them)
turns of the loop    what else ran while they were decided: turns of the event loop between batches
hand-over            until the sink began to write
write: worker        writing, while no request of a producer was on its way: packing, waiting
write: queue         while an earlier produce request was on its way
Kafka's API names    while that request was with the brokers: Produce, AddOffsetsToTxn, EndTxn, ...
===================  ===============================================================================

Everything here is plain bookkeeping on one thread; times are seconds of the monotonic clock.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from random import Random
from time import monotonic, time_ns
from typing import Any, Final, NamedTuple

from stream.trace.span import Attribute, Span

FETCH_WAIT: Final = "fetch wait"
QUEUE: Final = "queue"
TURNS: Final = "turns of the loop"
HAND_OVER: Final = "hand-over"
WORKER: Final = "write: worker"
BEHIND: Final = "write: queue"
CHUNK: Final = "chunk"
LATE: Final = "event loop late"
COLLECTION: Final = "garbage collection"

PRODUCE: Final = "Produce"
#: Requests of producers, the one that names a moment first where several are on their way.
WRITES: Final = (
    "EndTxn",
    "TxnOffsetCommit",
    "AddOffsetsToTxn",
    "AddPartitionsToTxn",
    "InitProducerId",
    PRODUCE,
)
#: Pauses and requests that are remembered: those of the last second or more.
REMEMBERED: Final = 1024
_TIMESTAMP: Final = attrgetter("timestamp")


class Interval(NamedTuple):
    """Something that took from `start_s` to `end_s`."""

    name: str
    start_s: float
    end_s: float


@dataclass(slots=True, eq=False)
class ChunkTrace:
    """The times of one chunk.

    Attributes:
        topic: Its topic.
        partition: Its partition.
        offset: Its first offset.
        records: Number of its records.
        wait_s: Mean time from the records' timestamps to the fetch; 0 where they lie ahead.
        fetched_s: When the fetch returned it.
        begun_s: When the agent took it.
        decided_s: When its outputs were known.
        write_s: When the sink began to write them.
        stages: Seconds of each stage of deciding.
    """

    topic: str
    partition: int
    offset: int
    records: int
    wait_s: float
    fetched_s: float
    begun_s: float = 0.0
    decided_s: float = 0.0
    write_s: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)


class Tracer:
    """Makes spans of chunks, requests to brokers and pauses.

    Args:
        export: Receives finished spans, a few at a time.
        clock: Seconds, monotonic.
        epoch_ns: Nanoseconds since the epoch.
        random: Source of ids.
    """

    def __init__(
        self,
        export: Callable[[Sequence[Span]], None],
        clock: Callable[[], float] = monotonic,
        epoch_ns: Callable[[], int] = time_ns,
        random: Random | None = None,
    ) -> None:
        self.now = clock
        self._export = export
        self._epoch_s = epoch_ns() / 1e9 - clock()
        self._random = random or Random()  # noqa: S311 - ids, not secrets
        self._stages: dict[str, float] = {}
        self._writes: deque[Interval] = deque(maxlen=REMEMBERED)
        self._pauses: deque[Interval] = deque(maxlen=REMEMBERED)

    def opened(self, topic: str, partition: int, offset: int, records: Sequence[Any]) -> ChunkTrace:
        """A chunk was fetched now."""
        now_s = self.now()
        wait_s = 0.0
        if records:
            mean_s = sum(map(_TIMESTAMP, records)) / len(records) / 1000
            wait_s = max(0.0, now_s + self._epoch_s - mean_s)
        return ChunkTrace(topic, partition, offset, len(records), wait_s, now_s)

    def begun(self, chunks: Iterable[ChunkTrace]) -> None:
        """The agent has taken the chunks of a fetch now, and decides them."""
        self._stages = {}
        now_s = self.now()
        for chunk in chunks:
            chunk.begun_s = now_s

    def stage(self, name: str, seconds: float) -> None:
        """A stage of the batch being decided has taken so long."""
        self._stages[name] = self._stages.get(name, 0.0) + seconds

    def decided(self, chunks: Iterable[ChunkTrace]) -> None:
        """The chunks of the fetch that was taken last are decided now."""
        now_s = self.now()
        for chunk in chunks:
            chunk.decided_s = now_s
            chunk.stages = self._stages

    def writing(self, chunk: ChunkTrace) -> None:
        """The sink begins to write a chunk now."""
        chunk.write_s = self.now()

    def request(self, name: str, start_s: float) -> None:
        """A request to a broker was answered now."""
        now_s = self.now()
        if name in WRITES:
            self._writes.append(Interval(name, start_s, now_s))
        self._export((self._span(self._new_id(32), "", f"kafka {name}", start_s, now_s, {}),))

    def pause(self, name: str, start_s: float, **attributes: Attribute) -> None:
        """The event loop or the interpreter was held up until now."""
        now_s = self.now()
        self._pauses.append(Interval(name, start_s, now_s))
        self._export((self._span(self._new_id(32), "", name, start_s, now_s, attributes),))

    def acknowledged(self, chunk: ChunkTrace) -> None:
        """The outputs of a chunk are acknowledged now; its spans are finished."""
        now_s = self.now()
        trace_id, root_id = self._new_id(32), self._new_id(16)
        start_s = chunk.fetched_s - chunk.wait_s
        attributes: dict[str, Attribute] = {
            "messaging.destination.name": chunk.topic,
            "messaging.destination.partition.id": str(chunk.partition),
            "messaging.kafka.offset": chunk.offset,
            "messaging.batch.message_count": chunk.records,
            "weir.late_ms": 1000 * _longest(self._pauses, chunk.fetched_s, now_s),
        }
        spans = [self._span(trace_id, "", CHUNK, start_s, now_s, attributes, root_id)]
        at_s = start_s
        for name, seconds in self._phases(chunk, now_s):
            spans.append(self._span(trace_id, root_id, name, at_s, at_s + seconds, {}))
            at_s += seconds
        self._export(spans)

    def _phases(self, chunk: ChunkTrace, now_s: float) -> list[tuple[str, float]]:
        deciding_s = chunk.decided_s - chunk.begun_s
        return [
            (FETCH_WAIT, chunk.wait_s),
            (QUEUE, chunk.begun_s - chunk.fetched_s),
            *chunk.stages.items(),
            (TURNS, max(0.0, deciding_s - sum(chunk.stages.values()))),
            (HAND_OVER, chunk.write_s - chunk.decided_s),
            *attribute(self._writes, chunk.write_s, now_s).items(),
        ]

    def _new_id(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits) | 1:0{digits}x}"

    def _span(
        self,
        trace_id: str,
        parent_id: str,
        name: str,
        start_s: float,
        end_s: float,
        attributes: dict[str, Attribute],
        span_id: str = "",
    ) -> Span:
        start_ns = round((start_s + self._epoch_s) * 1e9)
        return Span(
            trace_id,
            span_id or self._new_id(16),
            parent_id,
            name,
            start_ns,
            start_ns + round((end_s - start_s) * 1e9),
            attributes,
        )


def attribute(requests: Sequence[Interval], start_s: float, end_s: float) -> dict[str, float]:
    """Cut the time of a write by the producers' requests that were on their way.

    A produce request is the write's own if it was the last one to be answered before the write's
    end; while only others were on their way, it waited for its turn.

    Args:
        requests: Answered requests, in the order of their answers.
        start_s: Start of the write.
        end_s: Its end.

    Returns:
        Seconds by name; they add up to ``end_s - start_s``.
    """
    mine = [one for one in requests if one.end_s > start_s and one.start_s < end_s]
    own = next((one for one in reversed(mine) if one.name == PRODUCE), None)
    cuts = sorted(
        {start_s, end_s, *(min(max(at, start_s), end_s) for one in mine for at in one[1:])}
    )
    found: dict[str, float] = {}
    for before_s, after_s in pairwise(cuts):
        under_way = [one for one in mine if one.start_s <= before_s and one.end_s >= after_s]
        names = {
            BEHIND if one.name == PRODUCE and one is not own else one.name for one in under_way
        }
        name = next((name for name in (*WRITES, BEHIND) if name in names), WORKER)
        found[name] = found.get(name, 0.0) + after_s - before_s
    return found


def _longest(pauses: Iterable[Interval], start_s: float, end_s: float) -> float:
    """Seconds of the longest pause within the time from `start_s` to `end_s`."""
    return max(
        (
            min(one.end_s, end_s) - max(one.start_s, start_s)
            for one in pauses
            if one.end_s > start_s and one.start_s < end_s
        ),
        default=0.0,
    )
