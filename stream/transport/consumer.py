"""The consumer: delivers chunks to agents and commits what the ledger allows.

It is Faust's aiokafka consumer with these differences, and no others:

- What a fetch returned for one partition becomes a `Chunk` of raw records, and what it returned for
  a topic becomes one message. Changelog topics of tables are still delivered record by record, so
  tables work.
- Offsets are tracked by an `OffsetLedger`. Only `chunks` and `relay` acknowledge a chunk; Faust's
  own acknowledgement of an event, which happens even when the agent raised, has no effect.
- What is between fetch and acknowledgement is bounded in chunks, time and bytes (`room`).
- No batch stops it: one that cannot be decoded, or unpacks to more than a limit, is refused
  (`stream.kafka.batches`).
- An attached sink is claimed for the partitions before their committed offsets are read, and
  released when they are revoked.
- Partitions without progress are found with the ledger (`stall_detector`), not with Faust's own
  commits, which never happen here.
- The connection has no thread of its own; see `fetcher`.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from aiokafka.errors import KafkaConnectionError
from faust.transport.drivers import aiokafka as base
from faust.types import TP, Message

from stream.kafka.batches import RefusedBatch
from stream.trace.tracer import Tracer
from stream.transport.chunk import Chunk, held_bytes
from stream.transport.corrupt_partitions import CorruptPartitions
from stream.transport.delivery import Delivery, FetchMessage
from stream.transport.fetcher import Fetch, FetchService, Seek
from stream.transport.incidents import Incidents
from stream.transport.lanes.state import ReleasedError
from stream.transport.ledger import OffsetLedger
from stream.transport.offset_reset import Filtered, OffsetReset
from stream.transport.output.sink import NO_MEMBER, Member, Sink
from stream.transport.room import MAX_BYTES, Room
from stream.transport.stall_detector import StallDetector

logger = logging.getLogger(__name__)

#: How long a rebalance or a stop waits for chunks that agents are processing.
DRAIN_S: Final = 4.0
CLAIM_RETRY_S: Final = 1.0


class Consumer(base.Consumer):  # type: ignore[misc]
    """Delivers chunks and commits what the ledger allows; see the module."""

    incidents: Incidents
    tracer: Tracer | None = None
    offsets_missing: OffsetReset = "earliest"
    filtered: Filtered | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.incidents = Incidents()
        super().__init__(*args, **kwargs)
        self.ledger: OffsetLedger[TP] = OffsetLedger()
        self._epoch = 0
        self._sink: Sink | None = None
        self._room = Room(self.ledger)
        self.member = NO_MEMBER  # as of the last assignment
        self.batch_bounds: dict[str, Any] = {}
        self._working: set[Delivery] = set()
        self._progress = asyncio.Event()  # a chunk was completed
        self._stalls: StallDetector[TP] = StallDetector(
            self.app.conf.broker_commit_livelock_soft_timeout
        )

    def _new_consumer_thread(self) -> FetchService:
        return FetchService(self, loop=self.loop, beacon=self.beacon)

    def attach(
        self,
        sink: Sink | None,
        max_bytes: int = MAX_BYTES,
        offsets_missing: OffsetReset = "earliest",
    ) -> None:
        """Claim and release `sink` with the partitions; limit chunks in flight to `max_bytes`.

        `offsets_missing` says where reading starts in partitions that were filtered before but
        have no committed offset any more; see `offset_reset.initial_offsets`.
        """
        self._sink = sink
        self._room.max_bytes = max_bytes
        self.offsets_missing = offsets_missing
        self.filtered = None if sink is None else sink.filtered

    def report_to(self, incidents: Incidents) -> None:
        """Report problems of the topics to `incidents`; call it before the start."""
        self.incidents = incidents
        self._thread.corrupt = CorruptPartitions(incidents)

    def bound_batches(
        self, max_unpacked_bytes: int, refused: Callable[[RefusedBatch], None], *, keep: bool
    ) -> None:
        """Set how batches are read; see `stream.kafka.batches.BoundedConsumer`."""
        self.batch_bounds = {
            "max_unpacked_bytes": max_unpacked_bytes, "refused": refused, "keep": keep
        }  # fmt: skip

    # -- fetching

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109
        """Fetch once, and yield a message per topic."""
        fetches, _ = await self._wait_next_records(timeout)
        if fetches is None or self.should_stop:
            return
        by_topic: defaultdict[str, list[Delivery]] = defaultdict(list)
        for tp, fetch in fetches.items():
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if fetch.epoch == self._epoch and self._may_deliver(tp):
                by_topic[tp.topic].append(self._open(tp, fetch))
            # else: fetched before a seek, or while paused for a rebalance, which a seek follows
        for deliveries in by_topic.values():
            self._room.fetched(deliveries)
            message = FetchMessage(deliveries, self.app.consumer_generation_id)
            yield message.tp, message

    def _may_deliver(self, tp: TP) -> bool:
        return self.flow_active and (
            self.app.client_only
            or tp in self._get_active_partitions()
            or tp in self._buffered_partitions
        )

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> Mapping[TP, Fetch]:
        wanted = {tp for tp in active_partitions or () if tp in self._room}
        if wanted:
            fetches: Mapping[TP, Fetch] = await super()._getmany(wanted, timeout)
            return fetches
        await self._wait_for_progress(timeout)
        return {}

    def _open(self, tp: TP, fetch: Fetch) -> Delivery:
        records = fetch.records
        chunk = Chunk(
            topic=tp.topic,
            partition=tp.partition,
            records=records,
            start=records[0].offset if fetch.start is None else fetch.start,
            next_offset=fetch.end,
            size=held_bytes(records),
            fetched_s=monotonic(),
        )
        ticket = self.ledger.open(tp, chunk.start, chunk.next_offset, chunk.size, chunk.fetched_s)
        tracer = self.tracer
        trace = None
        if tracer is not None:
            trace = tracer.opened(tp.topic, tp.partition, chunk.start, records)
        return Delivery(chunk, ticket, trace)

    async def perform_seek(self) -> None:
        """Seek to the committed offsets; chunks in flight are abandoned and delivered again.

        The sink is claimed first, so that the previous owner of a partition cannot commit any more.
        """
        if self._sink is not None:
            try:
                await self._claim(self._sink, list(self.assignment()), self.member)
            except ReleasedError:  # revoked meanwhile; the next assignment seeks again
                return
        seek: Seek = await self.seek_to_committed()
        if seek.epoch < self._epoch:
            return  # a later seek has finished before
        self._epoch = seek.epoch
        for tp, position in seek.positions.items():
            self._read_offset[tp] = position
            self.ledger.reset(tp, position)
        self._working.clear()
        self._room.clear()
        self._signal_progress()
        logger.info("reading %s", _named(seek.positions) or "nothing: no partition assigned")

    async def _claim(self, sink: Sink, owned: list[TP], member: Member) -> None:
        """Claim `sink`; retry while no broker can be reached, as every read and write does."""
        while True:
            try:
                await sink.claim(owned, member)
            except KafkaConnectionError as error:
                self.log.warning("cannot claim %s yet: %s", owned, error)
                await self.sleep(CLAIM_RETRY_S)
            else:
                return

    async def seek(self, partition: TP, offset: int) -> None:
        """Raise: the ledger continues from committed offsets only."""
        raise NotImplementedError(f"{partition}: commit {offset} for the group instead of seeking")

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: a chunk covers the offset gaps between and after its records."""

    # -- acknowledging

    def begin(self, deliveries: Sequence[Delivery]) -> None:
        """An agent starts to process a fetch: a rebalance waits for it, `DRAIN_S` at most."""
        self._working.update(deliveries)
        had_room = deliveries[0].ticket.partition in self._room
        self._room.taken(deliveries)
        if not had_room:
            self._thread.wake_up()
            self._signal_progress()

    def owns(self, delivery: Delivery) -> bool:
        """Whether this consumer still has to write a chunk; not after a revocation or a seek."""
        return self.ledger.holds(delivery.ticket)

    def complete(self, delivery: Delivery, *, committed: bool = False) -> None:
        """All outputs of a chunk are acknowledged; its offset can be, or is already, committed."""
        self._working.discard(delivery)
        if self.tracer is not None and delivery.trace is not None:
            self.tracer.acknowledged(delivery.trace)
        tp = delivery.ticket.partition
        had_room = tp in self._room
        if self.ledger.ack(delivery.ticket):
            done = self.ledger.committable(tp)
            if committed and done is not None:
                self.ledger.committed(tp, done)
            if not had_room:
                self._thread.wake_up()
        self._signal_progress()

    def abandon(self, delivery: Delivery) -> None:
        """A chunk will not be written here; a rebalance does not wait for it any more."""
        self._working.discard(delivery)
        self._signal_progress()

    def _signal_progress(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    async def _wait_for_progress(self, seconds: float) -> None:
        await self.wait(self._progress.wait(), timeout=seconds)

    async def wait_empty(self) -> None:
        """Wait for the chunks that agents are processing, `DRAIN_S` at most, then commit.

        A chunk that is not complete by then is abandoned: not committed, and delivered again.
        """
        if self._sink is not None:
            await self._sink.drain()
        deadline = self.loop.time() + DRAIN_S
        while self._working and not self.should_stop and not self.app.crashed:
            left = deadline - self.loop.time()
            if left <= 0:
                self.log.warning("abandoned after %g s: %r", DRAIN_S, self._working)
                break
            await self._wait_for_progress(left)
        self._working.clear()
        await self.commit_and_end_transactions()

    # -- committing

    async def commit_and_end_transactions(self) -> None:
        """Commit all that is acknowledged, including what a commit in progress does not cover."""
        await self.maybe_wait_for_commit_to_finish()
        await super().commit_and_end_transactions()

    def _filter_committable_offsets(self, tps: Any) -> dict[TP, int]:
        return {tp: offset for tp in tps if (offset := self.ledger.committable(tp)) is not None}

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return (tp for tp in self.ledger if topics is None or tp in topics or tp.topic in topics)

    async def _commit_offsets(
        self, offsets: Mapping[TP, int], start_new_transaction: bool = True
    ) -> bool:
        done: bool = await super()._commit_offsets(offsets, start_new_transaction)
        if done:
            for tp, offset in offsets.items():
                self.ledger.committed(tp, offset)
        return done

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drain and commit, then drop the partitions and release the sink."""
        await super().on_partitions_revoked(revoked)
        self.ledger.revoke(revoked)
        if self._sink is not None:
            await self._sink.release(revoked)

    # -- progress and lag

    async def verify_all_partitions_active(self) -> None:
        """Log partitions that have work and make no progress; Faust calls it periodically."""
        self.idle_s()

    def idle_s(self) -> dict[TP, float]:
        """Seconds without progress of each owned partition; 0 where there is no work.

        Progress is an acknowledged chunk or an advanced position. There is work while chunks are in
        flight, committed records are not fetched, or the position is unknown.
        """
        now_s = monotonic()
        self._stalls.retain(self.ledger)
        return {tp: self._idle_s(tp, now_s) for tp in self.ledger}

    def _idle_s(self, tp: TP, now_s: float) -> float:
        done = self.ledger.done(tp)
        position, end = self._thread.position_of(tp), self._thread.end_of(tp)
        chunks = self.ledger.in_flight(tp)
        working = bool(chunks) or position is None or (end is not None and position < end)
        if self._stalls.observe(tp, (done, position), now_s, working=working):
            self.log.error(
                "%s[%d]: no progress for %.0f s: %d chunks in flight, acknowledged up to "
                "offset %s, fetched up to %s of %s",
                tp.topic, tp.partition, self._stalls.idle_s(tp, now_s), chunks, done, position, end,
            )  # fmt: skip
        return self._stalls.idle_s(tp, now_s)

    def lag(self) -> dict[TP, int | None]:
        """Records of each owned partition that are not acknowledged yet.

        None while that is unknown, because the end or the start offset has not been fetched.
        """
        return {tp: self._lag(tp) for tp in self.ledger}

    def _lag(self, tp: TP) -> int | None:
        end, done = self.highwater(tp), self.ledger.done(tp)
        if done is None and not self.ledger.in_flight(tp):
            done = self._thread.position_of(tp)
        return None if end is None or done is None else max(0, end - done)


def _named(partitions: Iterable[TP]) -> str:
    """``topic[0, 1], other[3]``."""
    by_topic = defaultdict[str, list[int]](list)
    for tp in sorted(partitions):
        by_topic[tp.topic].append(tp.partition)
    return ", ".join(f"{topic}{numbers}" for topic, numbers in by_topic.items())
