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
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, ensure_aiokafka_TP
from faust.types import TP
from mode import Service
from mode.utils.futures import maybe_async


class Fetch(NamedTuple):
    """What one fetch returned for one partition.

    Attributes:
        epoch: Number of seeks before it; a fetch of an older epoch is stale.
        start: Where it started, or None right after the position was left to the broker.
        end: Where the next one starts.
        records: aiokafka's records, in order.
    """

    epoch: int
    start: int | None
    end: int
    records: list[Any]


class Seek(NamedTuple):
    """The committed offsets that a seek went to (None: nothing committed yet), and its epoch."""

    epoch: int
    positions: dict[TP, int | None]


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
        await self.consumer.on_partitions_assigned(assigned, generation_id)

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # an upstream may write in transactions
        return consumer

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
        assigned = self._ensure_consumer()._subscription.subscription.assignment
        key = ensure_aiokafka_TP(tp)
        if assigned is None or key not in assigned.tps:
            return None
        state = assigned.state_value(key)
        return state.position if state.has_valid_position else None

    def end(self, tp: TP) -> int | None:
        """Offset behind the last committed record as of the last fetch, None while not known."""
        assigned = self._ensure_consumer()._subscription.subscription.assignment
        key = ensure_aiokafka_TP(tp)
        if assigned is None or key not in assigned.tps:
            return None
        state = assigned.state_value(key)
        known: int | None = state.highwater
        return known if state.lso is None or state.lso < 0 else state.lso

    async def seek_to_committed(self) -> Seek:
        """Seek to the committed offsets, or to the beginning, in one step; not in changelogs."""
        seek: Seek = await self.call_thread(self._seek_to_committed, self._ensure_consumer())
        return seek

    async def _seek_to_committed(self, consumer: AIOKafkaConsumer) -> Seek:
        partitions = [tp for tp in self.assignment() if not self.consumer._is_changelog_tp(tp)]
        positions = dict(
            zip(
                partitions,
                await asyncio.gather(
                    *(consumer.committed(ensure_aiokafka_TP(tp)) for tp in partitions)
                ),
                strict=True,
            )
        )
        # From here to the end of the loop nothing else runs.
        self._epoch += 1
        self._cursor = {tp: at for tp, at in positions.items() if at is not None}
        for tp, at in self._cursor.items():
            consumer.seek(ensure_aiokafka_TP(tp), at)
        unknown = [ensure_aiokafka_TP(tp) for tp, at in positions.items() if at is None]
        seek = Seek(self._epoch, positions)
        if unknown:
            await consumer.seek_to_beginning(*unknown)
        return seek

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
        wanted = {ensure_aiokafka_TP(tp) for tp in active_partitions}
        deadline = monotonic() + (timeout or 0.0)
        self._wake_up.clear()
        with fetcher._subscriptions.fetch_context():
            while True:
                if consumer._closed or fetcher._closed:
                    raise ConsumerStoppedError
                drained = await fetcher.fetched_records(wanted, 0, max_records)
                if drained:
                    return self._note(consumer, drained)
                left = deadline - monotonic()
                if left <= 0 or self._wake_up.is_set():
                    return {}
                await self._wait_for_records(fetcher, left)

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
