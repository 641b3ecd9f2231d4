import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    TopicAuthorizationFailedError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.transport.chunk import Outputs, RecordsRefusedError, RecordTooLargeError
from stream.transport.lane import TRANSITIONS, Lane, LaneError, LaneState, ReleasedError
from stream.transport.output.sink import Outgoing

END = 12  # offsets of the modelled partition
LIMIT = 10  # bytes of a value


@dataclass
class Partition:
    """What Kafka guarantees of one transactional id and one group's offset, and no more."""

    committed: int | None = None
    outputs: list[bytes | None] = field(default_factory=list)
    epoch: int = 0
    open: list[bytes | None] = field(default_factory=list)
    offset: int | None = None

    def claim(self) -> int:
        self.epoch += 1
        self.open, self.offset = [], None
        return self.epoch

    def commit(self) -> None:
        self.outputs += self.open
        if self.offset is not None:
            self.committed = self.offset
        self.open, self.offset = [], None


class Client:
    """A producer of the model. `faults` says of each request: 0 fine, 1 lost, 2 answer lost."""

    def __init__(self, partition: Partition, faults: Iterator[int]) -> None:
        self.partition = partition
        self.epoch = 0
        self.faults = faults
        self.closed = False

    async def _request(self, apply: Callable[[], Any]) -> Any:
        fault = next(self.faults)
        await asyncio.sleep(0)
        if fault == 1:
            raise KafkaConnectionError("lost")
        result = apply()
        await asyncio.sleep(0)
        if fault == 2:
            raise OutOfOrderSequenceNumber if result is None else KafkaConnectionError("no answer")
        return result

    def _fenced(self, apply: Callable[[], None]) -> Callable[[], None]:
        def checked() -> None:
            if self.epoch != self.partition.epoch:
                raise ProducerFenced
            apply()

        return checked

    async def claim(self) -> int | None:
        def apply() -> int:
            self.epoch = self.partition.claim()
            return self.epoch

        await self._request(apply)
        return self.partition.committed

    async def begin(self) -> None:
        await asyncio.sleep(0)

    def pack(self, outputs: Outputs) -> list[bytes | None]:
        values = [record.value for records in outputs.values() for record in records]
        for index, value in enumerate(values):
            if len(value or b"") > LIMIT:
                raise RecordTooLargeError("out", 0, {index: len(value or b"")}, LIMIT)
        return values

    async def write(self, packed: list[bytes | None], offset: int) -> None:
        await self._request(self._fenced(lambda: self.partition.open.extend(packed)))
        await self._request(self._fenced(lambda: setattr(self.partition, "offset", offset)))

    async def commit(self) -> None:
        await self._request(self._fenced(self.partition.commit))

    async def close(self) -> None:
        self.closed = True


def faultless() -> Iterator[int]:
    return repeat(0)


def new_lane(partition: Partition, faults: Iterator[int] | None = None) -> Lane[Any]:
    return Lane("in[0]", Client(partition, faults or faultless()), grace_s=0.0)


def outputs(start: int, end: int) -> Outputs:
    return {"out": [Outgoing(None, b"%d" % offset, offset) for offset in range(start, end)]}


async def own(lane: Lane[Any], size: int, ahead: int = 1) -> None:
    """What a worker does with a partition from its assignment on, `ahead` chunks at a time."""
    position = await lane.claim() or 0
    under_way: deque[asyncio.Task[None]] = deque()
    try:
        while position < END or under_way:
            while position < END and len(under_way) < ahead:
                end = min(position + size, END)
                writing = lane.write(position, end, outputs(position, end))
                under_way.append(asyncio.create_task(writing))
                position = end
            await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.transport.lane.FIRST_BACKOFF_S", 0.0)


@settings(max_examples=300, deadline=None)
@given(
    faults=st.lists(st.sampled_from([0, 0, 0, 1, 2]), max_size=40),
    schedule=st.lists(
        st.tuples(
            st.integers(1, 5),  # chunk size of the next owner
            st.integers(1, 4),  # chunks that it has under way
            st.integers(0, 40),  # turns of the loop until it owns the partition
            st.sampled_from(["crash", "revoke", "zombie"]),  # what becomes of the owner before
        ),
        max_size=6,
    ),
)
def test_any_owners_that_fail_in_any_way_write_every_offset_once_in_order(
    faults: list[int], schedule: list[tuple[int, int, int, str]]
) -> None:
    """Crashes, revocations, zombies, lost requests and lost answers repeat and lose nothing."""
    asyncio.run(_play(faults, schedule))


async def _play(faults: list[int], schedule: list[tuple[int, int, int, str]]) -> None:
    partition = Partition()
    shared = chain(faults, repeat(0))
    lane = new_lane(partition, shared)
    lanes = [lane]
    owners = [asyncio.create_task(own(lane, 2))]
    for size, ahead, turns, fate in schedule:
        for _ in range(turns):
            await asyncio.sleep(0)
        if fate == "crash":
            owners[-1].cancel()
        elif fate == "revoke":
            await lane.release()
        lane = new_lane(partition, shared)
        lanes.append(lane)
        owners.append(asyncio.create_task(own(lane, size, ahead)))
    for zombie in lanes[:-1]:  # in the end the group tells each of them
        await zombie.release()
    ends = await asyncio.gather(*owners, return_exceptions=True)
    unexpected = [
        end
        for end in ends
        if not isinstance(end, None | asyncio.CancelledError | ReleasedError | LaneError)
    ]
    assert not unexpected
    await own(new_lane(partition), 3)
    assert partition.outputs == [b"%d" % offset for offset in range(END)]
    assert partition.committed == END


async def test_a_commit_whose_answer_is_lost_is_not_repeated() -> None:
    """The committed offset tells that the transaction went through."""
    partition = Partition()
    lane = new_lane(partition, chain([0, 0, 0, 2], repeat(0)))  # claim, produce, offset, commit
    await lane.claim()
    await lane.write(0, 3, outputs(0, 3))
    assert partition.outputs == [b"0", b"1", b"2"]
    assert partition.epoch == 2, "the outcome was found out by a second claim"


async def test_an_error_that_no_repetition_mends_ends_the_lane() -> None:
    """A missing permission is raised, not retried."""
    partition = Partition()
    client = Client(partition, faultless())
    lane = Lane("in[0]", client, grace_s=0.0)
    await lane.claim()

    async def refuse(_packed: Any, _offset: int) -> None:
        raise TopicAuthorizationFailedError("out")

    client.write = refuse  # type: ignore[method-assign]
    with pytest.raises(TopicAuthorizationFailedError):
        await lane.write(0, 1, outputs(0, 1))
    assert lane.state is LaneState.FAILED
    assert partition.outputs == []


async def test_an_error_is_judged_by_what_caused_it() -> None:
    """What aiokafka wraps in plain errors, even twice, is still a connection that broke."""
    partition = Partition()
    client = Client(partition, faultless())
    lane = Lane("in[0]", client, grace_s=0.0)
    await lane.claim()
    fine = client.commit

    async def break_once() -> None:
        client.commit = fine  # type: ignore[method-assign]
        wrapped = KafkaError("lookup")
        wrapped.__cause__ = KafkaConnectionError("closed")
        raise KafkaError("delivery") from wrapped

    client.commit = break_once  # type: ignore[method-assign]
    await lane.write(0, 2, outputs(0, 2))
    assert partition.outputs == [b"0", b"1"]


async def test_an_output_too_large_is_shrunk_by_its_own_chunk() -> None:
    """Also where several chunks are committed together; all others stay as they are."""
    partition = Partition()
    lane = new_lane(partition)
    await lane.claim()

    def shrink(old: Outputs, error: RecordTooLargeError) -> Outputs:
        records = list(old["out"])
        (index,) = error.sizes
        records[index] = Outgoing(None, b"cut", 0)
        return {"out": records}

    chunks = [[b"a"], [b"b", b"c"], [b"d", b"e" * 11, b"f"], [b"g" * 12]]
    writes = []
    for number, values in enumerate(chunks):
        made = {"out": [Outgoing(None, value, 0) for value in values]}
        writes.append(lane.write(number, number + 1, made, shrink))
    await asyncio.gather(*writes)
    assert partition.outputs == [b"a", b"b", b"c", b"d", b"cut", b"f", b"cut"]
    with pytest.raises(RecordTooLargeError):
        await lane.write(4, 5, {"out": [Outgoing(None, b"h" * 11, 0)]})


@given(bad=st.sets(st.integers(0, 8)), cuts=st.lists(st.integers(1, 4), min_size=9, max_size=9))
async def test_what_a_topic_refuses_is_replaced_in_place(bad: set[int], cuts: list[int]) -> None:
    """Found while writing: the transaction is repeated without it, all else once and in order."""
    partition = Partition()
    client = Client(partition, faultless())
    write = client.write

    async def refusing(packed: list[bytes | None], offset: int) -> None:
        await write(packed, offset)
        indices = [i for i, value in enumerate(packed) if (value or b"").startswith(b"bad")]
        if indices:
            raise RecordsRefusedError("out", 0, indices, "too old")

    def instead(old: Outputs, error: RecordsRefusedError) -> Outputs:
        records = list(old["out"])
        for index in error.indices:
            assert (records[index].value or b"").startswith(b"bad")
            records[index] = Outgoing(None, b"letter", 0)
        return {"out": records}

    client.write = refusing  # type: ignore[method-assign]
    lane = Lane("in[0]", client, grace_s=0.0)
    await lane.claim()
    values = [b"bad%d" % i if i in bad else b"%d" % i for i in range(9)]
    writes, first = [], 0
    for size in cuts:
        chunk = values[first : first + size]
        if chunk:
            made = {"out": [Outgoing(None, value, 0) for value in chunk]}
            writes.append(lane.write(first, first + len(chunk), made, instead))
            first += len(chunk)
    await asyncio.gather(*writes)
    assert partition.outputs == [b"letter" if i in bad else b"%d" % i for i in range(9)]
    assert partition.committed == 9


async def test_chunks_that_wait_are_committed_together() -> None:
    """A slow commit makes a larger transaction, not a queue of them."""
    partition = Partition()
    client = Client(partition, faultless())
    lane = Lane("in[0]", client, grace_s=0.0)
    await lane.claim()
    commits = []

    async def commit() -> None:
        commits.append(partition.offset)
        partition.commit()

    client.commit = commit  # type: ignore[method-assign]
    await asyncio.gather(*(lane.write(n, n + 1, outputs(n, n + 1)) for n in range(5)))
    assert commits == [1, 5]
    assert partition.outputs == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_release_interrupts_a_write_that_waits() -> None:
    """A writer that waits for the broker learns at once that the partition is revoked."""
    client = Client(Partition(), faultless())
    lane = Lane("in[0]", client, grace_s=0.0)
    await lane.claim()
    begun = asyncio.Event()

    async def hang(_packed: Any, _offset: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    client.write = hang  # type: ignore[method-assign]
    writing = asyncio.create_task(lane.write(0, 1, outputs(0, 1)))
    await begun.wait()
    await lane.release()
    with pytest.raises(ReleasedError):
        await writing
    with pytest.raises(ReleasedError):
        await lane.write(0, 1, outputs(0, 1))
    assert client.closed
    assert lane.state is LaneState.RELEASED


async def test_a_fenced_lane_waits_for_its_release_before_it_claims_again() -> None:
    """A zombie does not fence the new owner back as soon as it wakes up."""
    partition = Partition()
    zombie = Lane("in[0]", Client(partition, faultless()), grace_s=3600.0)
    await zombie.claim()
    owner = new_lane(partition)
    await owner.claim()
    writing = asyncio.create_task(zombie.write(0, 2, outputs(0, 2)))
    while zombie.state is not LaneState.FENCED:
        await asyncio.sleep(0)
    await owner.write(0, 2, outputs(0, 2))
    await zombie.release()
    with pytest.raises(ReleasedError):
        await writing
    assert partition.outputs == [b"0", b"1"]
    assert partition.epoch == 2


async def test_a_group_whose_offset_others_moved_is_an_error() -> None:
    """A chunk that is not at the committed offset is never written."""
    partition = Partition()
    lane = new_lane(partition, chain([0, 1], repeat(0)))
    await lane.claim()
    partition.committed = 7
    with pytest.raises(LaneError, match=r"in\[0\]: the group's offset is 7 where 0 or 3"):
        await lane.write(0, 3, outputs(0, 3))
    assert partition.outputs == []


@pytest.mark.parametrize("state", list(LaneState))
def test_every_state_can_be_left_by_a_release_but_the_last(state: LaneState) -> None:
    """Revocation ends a lane wherever it is; a failure ends in nothing but a release."""
    after = TRANSITIONS[state]
    assert (LaneState.RELEASED in after) == (state is not LaneState.RELEASED)
    assert state not in after


async def test_a_step_that_the_table_forbids_is_an_error() -> None:
    """Writing without a claim claims; nothing opens a transaction twice."""
    lane = new_lane(Partition())
    await lane.claim()
    lane.state = LaneState.COMMITTING
    with pytest.raises(LaneError, match="never to"):
        await lane.write(0, 1, outputs(0, 1))


def test_errors_are_kafka_errors() -> None:
    """The property test raises what aiokafka raises."""
    assert issubclass(ProducerFenced, KafkaError)
    assert issubclass(OutOfOrderSequenceNumber, KafkaError)


async def test_transactions_keep_their_distance_and_share_the_wait() -> None:
    """What comes within the interval is committed together at its end; the first is not delayed."""
    partition = Partition()
    client = Client(partition, faultless())
    lane = Lane("in[0]", client, grace_s=0.0, interval_s=0.05)
    await lane.claim()
    clock = asyncio.get_running_loop().time
    commits = []

    async def commit() -> None:
        commits.append((partition.offset, clock()))
        partition.commit()

    client.commit = commit  # type: ignore[method-assign]
    start = clock()
    await lane.write(0, 1, outputs(0, 1))
    await asyncio.gather(lane.write(1, 2, outputs(1, 2)), lane.write(2, 3, outputs(2, 3)))
    assert [offset for offset, _ in commits] == [1, 3]
    assert commits[0][1] < commits[1][1]
    assert commits[1][1] - start >= 0.05


async def test_a_release_does_not_wait_for_the_interval() -> None:
    """A partition that is revoked is given up at once."""
    lane = Lane("in[0]", Client(Partition(), faultless()), grace_s=0.0, interval_s=600.0)
    await lane.claim()
    await lane.write(0, 1, outputs(0, 1))
    waiting = asyncio.create_task(lane.write(1, 2, outputs(1, 2)))
    await asyncio.sleep(0)
    await lane.release()
    with pytest.raises(ReleasedError):
        await asyncio.wait_for(waiting, 5)
