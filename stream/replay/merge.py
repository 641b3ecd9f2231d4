"""Merging of lanes into one history, in the order in which its requests were published.

The order is by (time, publisher's sequence number, partition, offset). Time is a timestamp as the
lane's clock follows it, so that a wrong timestamp does not hold back the records after it. Within a
lane the order never changes. The result depends neither on how lanes are cut into pieces nor on how
far their reading is ahead.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from stream.policy.rate.partition_clock import PartitionClock, in_milliseconds
from stream.replay.lanes import Lane, Planned
from stream.replay.records import Ints
from stream.replay.scoring import ScoredPiece
from stream.replay.stages import ScoringStage

#: Rejected records of a lane that are kept; further ones are counted only.
KEPT_REJECTS: Final = 10_000

_FOREVER: Final = np.iinfo(np.int64).max
_KEYS: Final = ["_time", "_sequence", "_offset"]


class LaneMark(msgspec.Struct):
    """State of a lane before one of its pieces, from which reading can go on.

    Attributes:
        token: Where the piece starts; None before the first.
        rows: Requests that it gave before.
        records: Records before, for offsets.
        lines: Lines before.
        clock: State of its clock.
        started: First time, in ms; 0 before there is one.
        counted: Records before, in the range of time.
        first_ms, last_ms: Their least and greatest timestamp; None before any.
        codes: Rejected records before, by code.
        kept: How many of those were kept.
        refused_headers: ``weir`` headers before that could not be read.
    """

    token: int | None = None
    rows: int = 0
    records: int = 0
    lines: int = 0
    clock: dict[str, Any] = {}
    started: int = 0
    counted: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    codes: dict[str, int] = {}
    kept: int = 0
    refused_headers: int = 0


class LanePosition(msgspec.Struct):
    """How far a lane has been given.

    Attributes:
        mark: State before the piece that is to be read again.
        given: Requests that were given in all.
        done: Share of the lane that was read.
        rejects: Rejected records before the mark that are kept: place, code, reason.
    """

    mark: LaneMark
    given: int = 0
    done: float = 0.0
    rejects: list[tuple[str, str, str]] = []


class LaneReader:
    """Reads, scores and orders one lane.

    Args:
        lane: The lane.
        number: Its number.
        stage: Where its pieces are scored.
        span: First time to include and first to exclude, in ms.
        position: Where to go on.
    """

    def __init__(
        self,
        lane: Lane,
        number: int,
        stage: ScoringStage,
        span: tuple[int | None, int | None],
        position: LanePosition,
    ) -> None:
        mark = position.mark
        self.lane = lane
        self.number = number
        self.ended = False
        self.done = position.done
        self.frame = pl.DataFrame()
        self._stage = stage
        self._span = span
        self._skip = position.given - mark.rows
        self._pieces = lane.pieces(mark.token)
        self._planned: deque[tuple[Planned, Awaitable[ScoredPiece]]] = deque()
        self._clock = PartitionClock.of_state(mark.clock)
        self._started = mark.started
        self._rows, self._records, self._lines = mark.rows, mark.records, mark.lines
        self.counted = mark.counted
        self.first_ms, self.last_ms = mark.first_ms, mark.last_ms
        self.codes = Counter(mark.codes)
        self.rejects = position.rejects
        self.refused_headers = mark.refused_headers
        self._marks = deque([mark])

    async def load(self, ahead: int) -> None:
        """Read on until there are requests to give, or the lane ends.

        Args:
            ahead: Pieces to have submitted, besides the one that is awaited.
        """
        while not self.frame.height and not self.ended:
            while len(self._planned) < ahead:
                planned = await anext(self._pieces, None)
                if planned is None:
                    break
                self._planned.append((planned, self._submit(planned)))
            if not self._planned:
                self.ended = True
                return
            planned, scoring = self._planned.popleft()
            self._accept(planned, await scoring)

    def _submit(self, planned: Planned) -> Awaitable[ScoredPiece]:
        return self._stage.submit(planned.piece, self.lane.verdict)

    def position(self, given: int) -> LanePosition:
        """Where to go on after so many requests; it must not fall from call to call."""
        while len(self._marks) > 1 and self._marks[1].rows <= given:
            self._marks.popleft()
        mark = self._marks[0]
        return LanePosition(mark, given, self.done, self.rejects[: mark.kept])

    def _accept(self, planned: Planned, piece: ScoredPiece) -> None:
        self._marks.append(self._mark(planned.token))
        times_M = in_milliseconds(piece.times_M)
        order_M = self._times(times_M)
        inside_M = np.ones(len(times_M), np.bool_)
        start, end = self._span
        if start is not None:
            inside_M &= times_M >= start
        if end is not None:
            inside_M &= times_M < end
        self._count(times_M[inside_M])
        self._count_rejects(piece, inside_M)
        self.refused_headers += piece.refused_headers
        if piece.frame.height:
            self.frame = self._ordered(piece.frame, order_M, inside_M)
            self._rows += self.frame.height
            if self._skip:
                skipped = min(self._skip, self.frame.height)
                self._skip -= skipped
                self.frame = self.frame.slice(skipped)
        self._records += len(times_M)
        self._lines += piece.line_count
        self.done = planned.done

    def _mark(self, token: int) -> LaneMark:
        return LaneMark(
            token, self._rows, self._records, self._lines, self._clock.state(), self._started,
            self.counted, self.first_ms, self.last_ms, dict(self.codes), len(self.rejects),
            self.refused_headers,
        )  # fmt: skip

    def _times(self, times_M: Ints) -> Ints:
        """Time of each record in the merged history; 0 before the first timestamp."""
        position_M = self._clock.read(times_M)
        if self._started:
            return position_M + self._started
        known = np.flatnonzero(times_M > 0)
        if not len(known):
            return np.zeros(len(times_M), np.int64)
        first = int(known[0])
        self._started = int(times_M[first])
        position_M[:first] = 0
        position_M[first:] += self._started
        return position_M

    def _count(self, times_K: Ints) -> None:
        self.counted += len(times_K)
        stamped_K = times_K[times_K > 0]
        if len(stamped_K):
            least, most = int(stamped_K.min()), int(stamped_K.max())
            self.first_ms = least if self.first_ms is None else min(least, self.first_ms)
            self.last_ms = most if self.last_ms is None else max(most, self.last_ms)

    def _count_rejects(self, piece: ScoredPiece, inside_M: npt.NDArray[np.bool_]) -> None:
        base = 0 if self.lane.absolute else self._records
        for at, code, reason in piece.rejects:
            if inside_M[at]:
                self.codes[code] += 1
                if len(self.rejects) < KEPT_REJECTS:
                    line = None if piece.lines_M is None else self._lines + int(piece.lines_M[at])
                    place = self.lane.place(base + int(piece.offsets_M[at]), line)
                    self.rejects.append((place, code, reason))

    def _ordered(
        self, frame: pl.DataFrame, order_M: Ints, inside_M: npt.NDArray[np.bool_]
    ) -> pl.DataFrame:
        """Add the columns that it is merged by, and leave out what is not in the range of time."""
        at_N = frame["at"].to_numpy()
        offsets = pl.col("offset") if self.lane.absolute else pl.col("offset") + self._records
        sequence = frame["sequence"].to_numpy() if "sequence" in frame.columns else 0
        frame = frame.with_columns(
            offsets,
            pl.lit(self.lane.partition, pl.Int64).alias("partition"),
            pl.lit(self.number, pl.Int64).alias("lane"),
        )
        inside_N = inside_M[at_N]
        keys = np.empty((len(at_N), 3), np.int64)
        keys[:, 0], keys[:, 1], keys[:, 2] = order_M[at_N], sequence, frame["offset"].to_numpy()
        frame = frame.with_columns(pl.from_numpy(keys, _KEYS))
        if not inside_N.all():
            frame = frame.filter(pl.Series(inside_N))
        return _never_falling(frame)


def _never_falling(frame: pl.DataFrame) -> pl.DataFrame:
    """Raise keys so that they never fall within a lane, whose order must not change."""
    keys = frame.select(_KEYS).to_numpy()
    steps = np.diff(keys, axis=0)
    falling = (steps[:, 0] == 0) & ((steps[:, 1] < 0) | ((steps[:, 1] == 0) & (steps[:, 2] < 0)))
    if not falling.any():
        return frame
    raised, before = [], None
    for row in map(tuple, keys.tolist()):
        before = row if before is None or row > before else before
        raised.append(before)
    return frame.with_columns(pl.from_numpy(np.array(raised, np.int64), _KEYS))


class Merge:
    """Merges lanes.

    A lane is opened when the history has come to its first record, so that thousands of files take
    no memory.

    Args:
        lanes: The lanes.
        stage: Where their pieces are scored.
        span: First time to include and first to exclude, in ms.
        positions: Where to go on, one per lane; none to begin.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        stage: ScoringStage,
        span: tuple[int | None, int | None] = (None, None),
        positions: Sequence[LanePosition] = (),
    ) -> None:
        self._lanes = lanes
        self._stage = stage
        self._span = span
        self._positions = positions
        first = [lane.first_ms() if len(lanes) > 1 else 0 for lane in lanes]
        self._waiting = deque(sorted((time, number) for number, time in enumerate(first)))
        self._opened: dict[int, LaneReader] = {}
        self.done_before = self._share(position.done for position in positions)

    @property
    def readers(self) -> list[LaneReader]:
        """The lanes that have been opened, in their order."""
        return [self._opened[number] for number in sorted(self._opened)]

    @property
    def done(self) -> float:
        """Share of the source that is read, 0 to 1."""
        done = dict.fromkeys(range(len(self._lanes)), 0.0)
        done |= {number: reader.done for number, reader in self._opened.items()}
        return self._share(done.values())

    def _share(self, done: Iterable[float]) -> float:
        weights = [lane.weight for lane in self._lanes]
        read = sum(share * weight for share, weight in zip(done, weights, strict=False))
        return read / sum(weights) if sum(weights) else 1.0

    def positions(self, given: Sequence[int]) -> list[LanePosition]:
        """Where to go on when so many requests of each lane have been given."""
        return [
            self._opened[number].position(rows)
            if number in self._opened
            else LanePosition(LaneMark())
            for number, rows in enumerate(given)
        ]

    async def frames(self) -> AsyncIterator[pl.DataFrame]:
        """The scored requests of all lanes, in order, with their ``partition`` and ``lane``."""
        active: list[LaneReader] = []
        while True:
            for reader in active:
                await reader.load(self._ahead(active))
            active = [reader for reader in active if reader.frame.height]
            if not active and not self._waiting:
                return
            front = min((_first(reader) for reader in active), default=_FOREVER)
            if self._waiting and (not active or self._waiting[0][0] <= front):
                active.append(self._open(self._waiting.popleft()[1]))
                continue
            yield self._take(active)

    def _ahead(self, active: Sequence[LaneReader]) -> int:
        return max(1, -(-self._stage.ahead // max(1, len(active))))

    def _open(self, number: int) -> LaneReader:
        position = self._positions[number] if self._positions else LanePosition(LaneMark())
        reader = LaneReader(self._lanes[number], number, self._stage, self._span, position)
        self._opened[number] = reader
        return reader

    def _take(self, active: Sequence[LaneReader]) -> pl.DataFrame:
        """All requests that no request precedes which is still to be read."""
        limit = self._waiting[0][0] if self._waiting else _FOREVER
        if len(active) == 1 and limit == _FOREVER:
            frame, active[0].frame = active[0].frame, pl.DataFrame()
            return frame.drop(_KEYS)
        bound = min(_last(reader) for reader in active)
        parts = []
        for reader in active:
            count = _up_to(reader, bound, limit)
            parts.append(reader.frame.head(count))
            reader.frame = reader.frame.slice(count)
        frame = pl.concat(parts, how="diagonal")
        by = [frame[name].to_numpy() for name in ("lane", "_offset", "partition", "_sequence")]
        order_N = np.lexsort((*by, frame["_time"].to_numpy()))
        return frame[order_N].drop(_KEYS)


class _Key(NamedTuple):
    """Place of a request in the merged history; that of its lane breaks ties."""

    time: int
    sequence: int
    partition: int
    offset: int
    lane: int


def _first(reader: LaneReader) -> int:
    return int(reader.frame["_time"][0])


def _last(reader: LaneReader) -> _Key:
    time, sequence, offset = reader.frame.select(_KEYS).row(-1)
    return _Key(time, sequence, reader.lane.partition, offset, reader.number)


def _up_to(reader: LaneReader, bound: _Key, limit: int) -> int:
    """How many requests of a lane are not after a bound, and before a time."""
    time, sequence, offset = (reader.frame[name].to_numpy() for name in _KEYS)
    own = reader.lane.partition
    if own == bound.partition:
        inside = offset <= bound.offset if reader.number <= bound.lane else offset < bound.offset
    else:
        inside = np.full(len(time), own < bound.partition)
    inside = (sequence < bound.sequence) | ((sequence == bound.sequence) & inside)
    inside = (time < bound.time) | ((time == bound.time) & inside)
    return int(np.count_nonzero(inside & (time < limit)))
