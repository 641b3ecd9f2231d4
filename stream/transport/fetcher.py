"""The service that holds the Kafka connection, and what it hands over.

Faust gives it a thread of its own. Here it runs in the agent's loop: a thread made every record on
one core to be read on the other, and waited for the interpreter lock again and again (10 to 20 us
per request, of 60). So an agent must give way now and then for heartbeats to pass; `relay` and
`chunks` do between any two chunks.

It knows, for every partition, from which offset to which a fetch went, so that no record between
two fetches can be skipped unnoticed, and it never confuses what was fetched before a seek with what
came after.

Faust's consumer reads aiokafka's fetcher by its private names, and so must what overrides it; both
are pinned to a minor version.
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
from stream.transport.corruption import Held
from stream.transport.positions import begin, out_of_range

#: So long a partition must have had nothing but markers and aborted records before the offsets
#: behind them are handed over without a record; a chunk that follows sooner covers them.
SETTLED_S: Final = 0.5


class Fetch(NamedTuple):
    """What one fetch returned for one partition.

    Attributes:
        epoch: Number of seeks before it; a fetch of an older epoch is stale.
        start: Where it started, or None right after the position was left to the broker.
        end: Where the next one starts.
        records: aiokafka's records, in order; none where the offsets hold only markers and aborted
            records, and nothing follows yet.
    """

    epoch: int
    start: int | None
    end: int
    records: list[Any]


class Seek(NamedTuple):
    """The offsets that a seek went to, and its epoch."""

    epoch: int
    positions: dict[TP, int]


class FetchService(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread, without the thread."""

    # What ServiceThread changed for a thread's sake is as in any service again.
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
        """Set up the state."""
        super().__post_init__()
        self._epoch = 0
        self._cursor: dict[TP, int] = {}
        self._settled: dict[TP, tuple[int, float]] = {}  # position behind the cursor, since when
        self.held = Held(self.consumer.incidents)
        self._wake_up = asyncio.Event()

    def wake_up(self) -> None:
        """End a fetch that waits, because the caller wants another set of partitions now."""
        self._wake_up.set()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call: there is no thread to be asked."""
        return await maybe_async(fun(*args, **kwargs))

    async def on_stop(self) -> None:
        """Leave the group and disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Tell the consumer."""
        await self.consumer.on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Forget positions, aiokafka looks up new ones; tell the consumer."""
        self._epoch += 1
        self._cursor.clear()
        self.held.clear()
        await self.consumer.on_partitions_assigned(assigned, generation_id)

    def _create_worker_consumer(self, transport: Any) -> BoundedConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # an upstream may write in transactions
        consumer._auto_offset_reset = "none"  # in silence; see `positions`
        return BoundedConsumer.of(consumer, **self.consumer.batch_bounds)

    def _create_client_consumer(self, transport: Any) -> BoundedConsumer:
        consumer = super()._create_client_consumer(transport)
        return BoundedConsumer.of(consumer, **self.consumer.batch_bounds)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; waits while no broker can. False if the partitions are not ours any more."""
        consumer = self._ensure_consumer()
        try:
            await consumer.commit({ensure_aiokafka_TP(tp): at for tp, at in offsets.items()})
        except (CommitFailedError, IllegalStateError) as error:
            self.log.warning("not committed, the group is rebalancing: %r; %r", offsets, error)
            return False
        return True

    def where(self, tp: TP) -> int | None:
        """Offset of the next record to be handed over, None while it is not known."""
        state = self._state(tp)
        return state.position if state is not None and state.has_valid_position else None

    def end(self, tp: TP) -> int | None:
        """Offset behind the last committed record as of the last fetch, None while not known."""
        state = self._state(tp)
        if state is None:
            return None
        known: int | None = state.highwater
        return known if state.lso is None or state.lso < 0 else state.lso

    def _state(self, tp: TP) -> Any:
        """What aiokafka knows of a partition, None where it is not assigned."""
        assigned = self._ensure_consumer()._subscription.subscription.assignment
        key = ensure_aiokafka_TP(tp)
        return None if assigned is None or key not in assigned.tps else assigned.state_value(key)

    async def seek_to_committed(self) -> Seek:
        """Seek to the committed offsets in one step; not in changelogs.

        Partitions without one begin where `positions.begin` says.
        """
        seek: Seek = await self.call_thread(self._seek_to_committed, self._ensure_consumer())
        return seek

    async def _seek_to_committed(self, consumer: AIOKafkaConsumer) -> Seek:
        partitions = [tp for tp in self.assignment() if not self.consumer._is_changelog_tp(tp)]
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
            positions |= await begin(
                consumer, unknown, mine.offsets_missing, mine.filtered, mine.incidents
            )
        # From here on nothing else runs.
        self._epoch += 1
        self._cursor = dict(positions)
        self._settled.clear()
        for tp, at in positions.items():
            if consumer._subscription.is_assigned(ensure_aiokafka_TP(tp)):
                consumer.seek(ensure_aiokafka_TP(tp), at)
        return Seek(self._epoch, positions)

    async def _highwaters(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The ends of `partitions`, as a fetch sees them; a table is recovered up to there.

        The embedded broker (Tansu 0.6) lists the first offset of the last batch as the latest
        one, which would leave out the rest of that batch; its fetches tell the true end.
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
        wanted = {ensure_aiokafka_TP(tp) for tp in active_partitions if tp not in self.held}
        deadline = monotonic() + (timeout or 0.0)
        self._wake_up.clear()
        with fetcher._subscriptions.fetch_context():
            while True:
                if consumer._closed or fetcher._closed:
                    raise ConsumerStoppedError
                drained = await self._drain(consumer, wanted, max_records)
                fetches = self._note(consumer, drained) | self._passed_over(consumer, wanted)
                if fetches:
                    return fetches
                left = deadline - monotonic()
                if left <= 0 or self._wake_up.is_set():
                    return {}
                await self._wait_for_records(fetcher, left)

    async def _drain(
        self, consumer: AIOKafkaConsumer, wanted: set[Any], max_records: int | None
    ) -> Mapping[Any, list[Any]]:
        """What has been fetched; what a fetch met instead is dealt with."""
        if not wanted:
            return {}
        try:
            drained: dict[Any, list[Any]] = await consumer._fetcher.fetched_records(
                wanted, 0, max_records
            )
        except CorruptBatchError as error:
            self.held.hold(error)
            wanted.discard(TopicPartition(error.topic, error.partition))
        except OffsetOutOfRangeError as error:
            await self._out_of_range(consumer, *error.args)
        except NoOffsetForPartitionError:
            pass  # just assigned; a seek follows
        else:
            if self.held:
                self.held.release(*(TP(tp.topic, tp.partition) for tp in drained))
            return drained
        return {}

    async def _out_of_range(
        self, consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]
    ) -> None:
        for tp, at in offsets.items():
            changelog = self.consumer._is_changelog_tp(TP(tp.topic, tp.partition))
            incidents = None if changelog else self.consumer.incidents
            await out_of_range(consumer, {tp: at}, self.app.conf.id, incidents)

    def _note(
        self, consumer: AIOKafkaConsumer, drained: Mapping[Any, list[Any]]
    ) -> dict[TP, Fetch]:
        assignment = consumer._subscription.subscription.assignment
        fetches: dict[TP, Fetch] = {}
        for tp, records in drained.items():
            partition = TP(tp.topic, tp.partition)
            end = assignment.state_value(tp).position
            fetches[partition] = Fetch(self._epoch, self._cursor.get(partition), end, records)
            self._cursor[partition] = end
        return fetches

    def _passed_over(self, consumer: AIOKafkaConsumer, wanted: Iterable[Any]) -> dict[TP, Fetch]:
        """Offsets without a record at the end of partitions: they are to be committed, too."""
        assignment = consumer._subscription.subscription.assignment
        fetches: dict[TP, Fetch] = {}
        for key in wanted:
            tp = TP(key.topic, key.partition)
            cursor = self._cursor.get(tp)
            if cursor is None or assignment is None or key not in assignment.tps:
                continue
            state = assignment.state_value(key)
            if not state.has_valid_position or state.position <= cursor:
                continue
            at, since_s = self._settled.get(tp, (None, 0.0))
            if at != state.position:
                self._settled[tp] = (state.position, monotonic())
            elif monotonic() - since_s >= SETTLED_S:
                del self._settled[tp]
                fetches[tp] = Fetch(self._epoch, cursor, state.position, [])
                self._cursor[tp] = state.position
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
            records.result()  # raises what the fetch met, e.g. a missing authorization
