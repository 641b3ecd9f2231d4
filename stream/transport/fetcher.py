"""The service that owns the connection to Kafka and returns fetches.

In Faust it is a thread. Here it runs in the agent's event loop: with a thread, records were created
on one core and read on another, and both waited for the interpreter lock (10 to 20 us per request,
of 60). So an agent must yield to the event loop for heartbeats to be sent; `relay` and `chunks` do
so between any two chunks.

For every partition it tracks which offsets a fetch covered, so that no record between two fetches
is skipped unnoticed, and every fetch carries the epoch of the seek before it, so that records
fetched before a seek are never mistaken for records fetched after it.

Faust's consumer uses private names of aiokafka's fetcher, and so must its override; both packages
are pinned to a minor version, and docs/faust.md lists the names.
"""

# ruff: noqa: SLF001

import asyncio
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, ensure_aiokafka_TP
from faust.types import TP
from mode import Service
from mode.utils.futures import maybe_async

from stream.kafka.batches import BoundedConsumer, CorruptBatchError
from stream.trace.watch import requests
from stream.transport.client_state import committed_end, partition_state, position
from stream.transport.corrupt_partitions import CorruptPartitions
from stream.transport.offset_reset import initial_offsets, reset_out_of_range
from stream.transport.output.sink import Member

#: If a fetch found only markers and aborted records, their offsets are returned without a record
#: after this time; a chunk that follows sooner covers them.
SETTLED_S: Final = 0.5


class Fetch(NamedTuple):
    """What one fetch returned for one partition.

    Attributes:
        epoch: Number of seeks before it; a fetch of an older epoch is stale.
        start: Offset at which it started, None for the first fetch after an assignment.
        end: Offset at which the next fetch starts.
        records: aiokafka's records, in order; empty where the offsets hold only markers and aborted
            records, and nothing follows yet.
    """

    epoch: int
    start: int | None
    end: int
    records: list[Any]


class Seek(NamedTuple):
    """The offsets that were sought, and the epoch that began with the seek."""

    epoch: int
    positions: dict[TP, int]


class FetchService(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread, running in the event loop of the agents."""

    # ServiceThread overrides these for its thread; here they are those of any service.
    start = Service.start
    maybe_start = Service.maybe_start
    stop = Service.stop
    crash = Service.crash
    set_shutdown = Service.set_shutdown
    _stopped_set = Service._stopped_set
    _stop_children = Service._stop_children
    _stop_futures = Service._stop_futures
    _stop_exit_stacks = Service._stop_exit_stacks
    wait_for_shutdown = False

    def __init__(self, consumer: Any, *, loop: asyncio.AbstractEventLoop, beacon: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, beacon=beacon)

    def __post_init__(self) -> None:
        """Initialise the state; called by mode after ``__init__``."""
        super().__post_init__()
        self._epoch = 0
        self._cursor: dict[TP, int] = {}
        self._settled: dict[TP, tuple[int, float]] = {}  # position after the cursor, since when
        self.corrupt = CorruptPartitions(self.consumer.incidents)
        self._wake_up = asyncio.Event()

    def wake_up(self) -> None:
        """End a fetch that waits, because another set of partitions is wanted now."""
        self._wake_up.set()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call in this loop: there is no thread."""
        return await maybe_async(fun(*args, **kwargs))

    async def on_stop(self) -> None:
        """Leave the group and disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Pass it on to the consumer."""
        await self.consumer.on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Drop the positions, which aiokafka looks up again, and pass it on to the consumer."""
        coordinator = self._ensure_consumer()._coordinator
        self.consumer.member = Member(coordinator.member_id, coordinator.generation)
        self._epoch += 1
        self._cursor.clear()
        self.corrupt.clear()
        await self.consumer.on_partitions_assigned(assigned, generation_id)

    def _create_worker_consumer(self, transport: Any) -> BoundedConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # an upstream may write in transactions
        consumer._auto_offset_reset = "none"  # see `offset_reset`
        requests.add(consumer._client)
        return BoundedConsumer.of(consumer, **self.consumer.batch_bounds)

    def _create_client_consumer(self, transport: Any) -> BoundedConsumer:
        consumer = super()._create_client_consumer(transport)
        return BoundedConsumer.of(consumer, **self.consumer.batch_bounds)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; waits while no broker answers. False if the partitions are not owned any more."""
        consumer = self._ensure_consumer()
        try:
            await consumer.commit({ensure_aiokafka_TP(tp): at for tp, at in offsets.items()})
        except (CommitFailedError, IllegalStateError) as error:
            self.log.warning("not committed, the group is rebalancing: %r; %r", offsets, error)
            return False
        return True

    def position_of(self, tp: TP) -> int | None:
        """Offset of the next record to be delivered, None while it is unknown."""
        return position(self._ensure_consumer(), ensure_aiokafka_TP(tp))

    def end_of(self, tp: TP) -> int | None:
        """Offset after the last committed record as of the last fetch, None while unknown."""
        return committed_end(self._ensure_consumer(), ensure_aiokafka_TP(tp))

    async def seek_to_committed(self) -> Seek:
        """Seek to the committed offsets of all partitions, in one step.

        Partitions without one start where `offset_reset.initial_offsets` says.
        """
        seek: Seek = await self.call_thread(self._seek_to_committed, self._ensure_consumer())
        return seek

    async def _seek_to_committed(self, consumer: AIOKafkaConsumer) -> Seek:
        partitions = list(self.assignment())
        committed = dict(
            zip(
                partitions,
                await asyncio.gather(
                    *(consumer.committed(ensure_aiokafka_TP(tp)) for tp in partitions)
                ),
                strict=True,
            )
        )
        positions = {tp: at for tp, at in committed.items() if at is not None}
        if unknown := committed.keys() - positions.keys():
            mine = self.consumer
            positions |= await initial_offsets(
                consumer, unknown, mine.offsets_missing, mine.filtered, mine.incidents
            )
        # No await from here on, so that nothing is fetched in between.
        self._epoch += 1
        self._cursor = dict(positions)
        self._settled.clear()
        for tp, at in positions.items():
            if consumer._subscription.is_assigned(ensure_aiokafka_TP(tp)):
                consumer.seek(ensure_aiokafka_TP(tp), at)
        return Seek(self._epoch, positions)

    async def _highwaters(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The ends of `partitions`, as a fetch returns them; tables are recovered up to there.

        ListOffsets of the embedded broker (Tansu 0.6) returns the first offset of the last batch as
        the latest one, which would skip the rest of that batch; its fetches return the true end.
        """
        consumer = self._ensure_consumer()
        ends = await consumer.end_offsets([ensure_aiokafka_TP(tp) for tp in partitions])
        filled = {tp: end for tp, end in ends.items() if end > 0}
        if filled:
            ends |= await self._probe(filled)
        return {TP(tp.topic, tp.partition): end for tp, end in ends.items()}

    async def _probe(self, ends: Mapping[Any, int]) -> dict[Any, int]:
        probe = self._create_client_consumer(self.transport)
        await probe.start()
        try:
            probe.assign(list(ends))
            for tp, end in ends.items():
                probe.seek(tp, end - 1)
            while any(probe.highwater(tp) is None for tp in ends):
                await probe.getmany(timeout_ms=100)
            return {tp: max(end, probe.highwater(tp)) for tp, end in ends.items()}
        finally:
            await probe.stop()

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: Iterable[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,
    ) -> Mapping[TP, Fetch]:
        if not self.consumer.flow_active:
            return {}
        fetcher = consumer._fetcher
        wanted = {ensure_aiokafka_TP(tp) for tp in active_partitions if tp not in self.corrupt}
        deadline = monotonic() + (timeout or 0.0)
        self._wake_up.clear()
        with fetcher._subscriptions.fetch_context():
            while True:
                if consumer._closed or fetcher._closed:
                    raise ConsumerStoppedError
                drained = await self._drain(consumer, wanted, max_records)
                fetches = self._advance(consumer, drained) | self._empty_ranges(consumer, wanted)
                if fetches:
                    return fetches
                left = deadline - monotonic()
                if left <= 0 or self._wake_up.is_set():
                    return {}
                await self._wait_for_records(fetcher, left)

    async def _drain(
        self, consumer: AIOKafkaConsumer, wanted: set[Any], max_records: int | None
    ) -> Mapping[Any, list[Any]]:
        """Records that have been fetched; the errors that a fetch met are handled."""
        if not wanted:
            return {}
        try:
            drained: dict[Any, list[Any]] = await consumer._fetcher.fetched_records(
                wanted, 0, max_records
            )
        except CorruptBatchError as error:
            self.corrupt.pause(error)
            wanted.discard(TopicPartition(error.topic, error.partition))
        except OffsetOutOfRangeError as error:
            await self._out_of_range(consumer, *error.args)
        except NoOffsetForPartitionError:
            pass  # just assigned; the seek follows
        else:
            if self.corrupt:
                self.corrupt.resume(*(TP(tp.topic, tp.partition) for tp in drained))
            return drained
        return {}

    async def _out_of_range(
        self, consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]
    ) -> None:
        await reset_out_of_range(consumer, offsets, self.app.conf.id, self.consumer.incidents)

    def _advance(
        self, consumer: AIOKafkaConsumer, drained: Mapping[Any, list[Any]]
    ) -> dict[TP, Fetch]:
        fetches: dict[TP, Fetch] = {}
        for tp, records in drained.items():
            partition = TP(tp.topic, tp.partition)
            end = partition_state(consumer, tp).position
            fetches[partition] = Fetch(self._epoch, self._cursor.get(partition), end, records)
            self._cursor[partition] = end
        return fetches

    def _empty_ranges(self, consumer: AIOKafkaConsumer, wanted: Iterable[Any]) -> dict[TP, Fetch]:
        """Offsets without a record at the end of partitions: they have to be committed, too."""
        fetches: dict[TP, Fetch] = {}
        for key in wanted:
            tp = TP(key.topic, key.partition)
            cursor, end = self._cursor.get(tp), position(consumer, key)
            if cursor is None or end is None or end <= cursor:
                continue
            at, since_s = self._settled.get(tp, (None, 0.0))
            if at != end:
                self._settled[tp] = (end, monotonic())
            elif monotonic() - since_s >= SETTLED_S:
                del self._settled[tp]
                fetches[tp] = Fetch(self._epoch, cursor, end, [])
                self._cursor[tp] = end
        return fetches

    async def _wait_for_records(self, fetcher: Any, seconds: float) -> None:
        records = fetcher._create_fetch_waiter()
        woken = asyncio.ensure_future(self._wake_up.wait())
        try:
            await asyncio.wait(
                (records, woken), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            woken.cancel()
            records.cancel()
        if records.done() and not records.cancelled():
            records.result()  # raises the error of the fetch, e.g. a missing permission
