"""The merged history is that of a merge record by record, however lanes are cut."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from stream.policy.rate.partition_clock import PartitionClock
from stream.replay.lanes import Planned
from stream.replay.merge import Merge
from stream.replay.records import Fetched, Piece, Records
from stream.replay.scoring import ScoredPiece

START_MS = 1_700_000_000_000


@dataclass
class Lane:
    """A lane in memory, of pairs of time and publisher's number, in pieces of ``size`` records."""

    partition: int
    records: Sequence[tuple[int, int]]
    size: int
    name: str = "lane"
    verdict: None = None
    absolute: bool = False
    weight: int = 1
    fingerprint: int = 0

    async def pieces(self, token: int | None) -> AsyncIterator[Planned]:
        for at in range(token or 0, len(self.records), self.size):
            part = self.records[at : at + self.size]
            times = np.array([time for time, _ in part], np.int64)
            values: list[bytes | None] = [b"%d" % number for _, number in part]
            records = Records(values, times, np.arange(len(part), dtype=np.int64))
            yield Planned(Fetched(records), at, 1.0)

    def first_ms(self) -> int:
        return max(0, self.records[0][0]) if self.records else 0

    def place(self, offset: int, line: int | None) -> str:
        return f"{offset} {line}"


class Stage:
    """Scores nothing; a request's id is its value."""

    ahead = 3

    async def submit(self, piece: Piece, verdict: str | None) -> ScoredPiece:
        assert verdict is None
        records = piece.read()
        numbers = [int(value or 0) for value in records.values]
        frame = pl.DataFrame(
            {
                "at": np.arange(len(records)),
                "offset": records.offsets_M,
                "timestamp": records.times_M,
                "sequence": pl.Series(numbers, dtype=pl.Int64),
            }
        )
        return ScoredPiece(frame, records.times_M, records.offsets_M, None, 0, [], 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None: ...


def merged(lanes: Sequence[Lane]) -> list[tuple[int, int]]:
    async def run() -> list[tuple[int, int]]:
        merge = Merge(lanes, Stage())
        frames = [frame async for frame in merge.frames()]
        return [row for frame in frames for row in frame.select("lane", "offset").rows()]

    return asyncio.run(run())


def reference(lanes: Sequence[Lane]) -> list[tuple[int, int]]:
    """The record with the least key among the next ones of all lanes, again and again."""
    queues = []
    for number, lane in enumerate(lanes):
        times = np.array([time for time, _ in lane.records], np.int64)
        position = PartitionClock().read(times).tolist()
        started, keys = 0, []
        for offset, ((time, sequence), at) in enumerate(zip(lane.records, position, strict=True)):
            started = started or max(time, 0)
            ordered = started + at if started else 0
            keys.append((ordered, sequence, lane.partition, offset, number))
        queues.append(iter(keys))
    heap = [first for queue in queues if (first := next(queue, None))]
    heapq.heapify(heap)
    order = []
    while heap:
        *_, offset, number = heapq.heappop(heap)
        order.append((number, offset))
        if following := next(queues[number], None):
            heapq.heappush(heap, following)
    return order


TIMES = st.one_of(
    st.integers(START_MS, START_MS + 20), st.sampled_from([0, -1, START_MS + 86_400_000])
)
LANES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.tuples(TIMES, st.integers(0, 3)), max_size=12),
        st.integers(1, 5),
    ),
    max_size=4,
)


@given(LANES)
def test_lanes_are_merged_as_record_by_record(
    drawn: list[tuple[int, list[tuple[int, int]], int]],
) -> None:
    """Wrong times, times that go back and numbers out of order included."""
    lanes = [Lane(*each) for each in drawn]
    assert merged(lanes) == reference(lanes)
