"""The Faust transport ``weir://``: an agent receives one event per fetched chunk.

Faust finds it through the entry point group ``faust.transports``; ``broker="weir://a:1;weir://b:2"``
selects it. It is Faust's aiokafka driver with these differences, and no others:

- What a fetch returned for one partition becomes a `Chunk` of raw records, and what it returned for
  a topic one message. Changelog topics of tables keep coming record by record, so tables work.
- Offsets are kept by an `OffsetLedger`. Only the loop ``async for chunk in chunks(stream)``
  acknowledges; Faust's own acknowledgement of an event, which happens even when the agent raised,
  means nothing here.
- At most `CHUNKS_IN_FLIGHT` chunks of a partition are between fetch and acknowledgement, and no
  more is fetched while all chunks together hold more than the bytes that `attach` allows.
- No batch stops it: what cannot be read, or unpacks beyond a bound, is refused
  (`stream.kafka.batches`).
- A sink that is attached is claimed for the partitions before their offsets are looked up, and
  released when they are revoked.
- A flush of Faust's producer flushes, so that no offset is committed before the changelog records
  of its chunk are written (see `producer`).
- What makes no progress is told by the ledger (`stalls`), not by Faust's commits.
- A topic added late is subscribed to after a second, not after 45.
- The connection has no thread of its own; see `fetcher`.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from time import monotonic
from typing import Any, ClassVar, Final

from aiokafka.errors import KafkaConnectionError
from faust.exceptions import ImproperlyConfigured
from faust.transport.conductor import Conductor as FaustConductor
from faust.transport.drivers import aiokafka as base
from faust.types import TP, AppT, ConsumerMessage, Message

from stream.kafka.batches import HEADER_BYTES_HELD, RefusedBatch
from stream.transport.chunk import Chunk
from stream.transport.corruption import Held
from stream.transport.fetcher import Fetch, FetchService, Seek
from stream.transport.incidents import Incidents
from stream.transport.lane import ReleasedError
from stream.transport.ledger import OffsetLedger, Ticket
from stream.transport.output.producer import Producer
from stream.transport.output.sink import Sink
from stream.transport.positions import Begin, Filtered
from stream.transport.stalls import StallWatch

logger = logging.getLogger(__name__)

CHUNKS_IN_FLIGHT: Final = (
    8  # most of them waiting for a commit; one in the agent's hands, one ready
)
DRAIN_S: Final = 4.0  # how long a rebalance or a stop waits for chunks that agents work on
CLAIM_AGAIN_S: Final = 1.0
MAX_BYTES: Final = 256 * 1024 * 1024

_KEY: Final = attrgetter("key")
_HEADERS: Final = attrgetter("headers")
_VALUE: Final = attrgetter("value")


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A chunk on its way through an agent, and its place in the ledger."""

    chunk: Chunk
    ticket: Ticket[TP]


class FetchMessage(ConsumerMessage):  # type: ignore[misc]
    """What one fetch returned for the partitions of one topic, on its way to an agent.

    Its value is a list of deliveries. Faust's acknowledgement leaves it alone.
    """

    def __init__(self, deliveries: list[Delivery], generation_id: int) -> None:
        first = deliveries[0].chunk
        super().__init__(
            first.topic,
            first.partition,
            first.start,
            first.records[-1].timestamp / 1000.0 if first.records else 0.0,
            0,
            None,
            None,
            deliveries,
            None,
            tp=deliveries[0].ticket.partition,
            generation_id=generation_id,
        )
        self.acked = True  # as far as Faust is concerned

    def ack(self, _consumer: Any, _n: int = 1) -> bool:
        """Do nothing: see `Consumer.complete`."""
        return False


class Consumer(base.Consumer):  # type: ignore[misc]
    """Hands over chunks and commits what the ledger says."""

    incidents: Incidents
    offsets_missing: Begin = "earliest"
    filtered: Filtered | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.incidents = Incidents()
        super().__init__(*args, **kwargs)
        self.ledger: OffsetLedger[TP] = OffsetLedger()
        self._epoch = 0
        self._sink: Sink | None = None
        self._max_bytes = MAX_BYTES
        self.batch_bounds: dict[str, Any] = {}
        self._working: set[Delivery] = set()
        self._progress = asyncio.Event()  # a chunk was completed
        self._stalls: StallWatch[TP] = StallWatch(self.app.conf.broker_commit_livelock_soft_timeout)

    def _new_consumer_thread(self) -> FetchService:
        return FetchService(self, loop=self.loop, beacon=self.beacon)

    def attach(
        self, sink: Sink | None, max_bytes: int = MAX_BYTES, offsets_missing: Begin = "earliest"
    ) -> None:
        """Claim and release `sink` with the partitions; keep chunks in flight to `max_bytes`.

        `offsets_missing` says where partitions begin that were filtered before, but have no
        committed offset any more; see `positions.begin`.
        """
        self._sink = sink
        self._max_bytes = max_bytes
        self.offsets_missing = offsets_missing
        self.filtered = None if sink is None else sink.filtered

    def report_to(self, incidents: Incidents) -> None:
        """Have `incidents` told of what befalls the topics; call it before the start."""
        self.incidents = incidents
        self._thread.held = Held(incidents)

    def bound(
        self, max_unpacked_bytes: int, refused: Callable[[RefusedBatch], None], *, keep: bool
    ) -> None:
        """How batches are read; see `stream.kafka.batches.BoundedConsumer`."""
        self.batch_bounds = {
            "max_unpacked_bytes": max_unpacked_bytes, "refused": refused, "keep": keep
        }  # fmt: skip

    # -- fetching

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109
        """Fetch once, and yield a message per topic (per record of a changelog)."""
        fetches, _ = await self._wait_next_records(timeout)
        if fetches is None or self.should_stop:
            return
        by_topic: defaultdict[str, list[Delivery]] = defaultdict(list)
        for tp, fetch in fetches.items():
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if self._is_changelog_tp(tp):
                for record in fetch.records:
                    if self._may_deliver(tp):
                        yield tp, self._to_message(tp, record)
            elif fetch.epoch == self._epoch and self._may_deliver(tp):
                by_topic[tp.topic].append(self._open(tp, fetch))
            # else: fetched before a seek, or while paused for a rebalance, which a seek follows
        for deliveries in by_topic.values():
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
        wanted = {tp for tp in active_partitions or () if self._has_room(tp)}
        if wanted:
            fetches: Mapping[TP, Fetch] = await super()._getmany(wanted, timeout)
            return fetches
        await self._wait_for_progress(timeout)
        return {}

    def _has_room(self, tp: TP) -> bool:
        ledger = self.ledger
        return ledger.in_flight(tp) < CHUNKS_IN_FLIGHT and self._has_memory()

    def _has_memory(self) -> bool:
        return self.ledger.bytes_in_flight() < self._max_bytes

    def _open(self, tp: TP, fetch: Fetch) -> Delivery:
        records = fetch.records
        chunk = Chunk(
            topic=tp.topic,
            partition=tp.partition,
            records=records,
            start=records[0].offset if fetch.start is None else fetch.start,
            next_offset=fetch.end,
            size=_bytes(_VALUE, records) + _bytes(_KEY, records) + _header_bytes(records),
            fetched_s=monotonic(),
        )
        ticket = self.ledger.open(tp, chunk.start, chunk.next_offset, chunk.size)
        return Delivery(chunk, ticket)

    async def perform_seek(self) -> None:
        """Go to the committed offsets; chunks in flight are abandoned and come again.

        The sink is claimed first: whoever owned the partitions before cannot commit any more.
        """
        if self._sink is not None:
            owned = [tp for tp in self.assignment() if not self._is_changelog_tp(tp)]
            try:
                await self._claim(self._sink, owned)
            except ReleasedError:  # revoked meanwhile; the assignment that follows seeks again
                return
        seek: Seek = await self.seek_to_committed()
        if seek.epoch < self._epoch:
            return  # a later seek was faster
        self._epoch = seek.epoch
        for tp, position in seek.positions.items():
            self._read_offset[tp] = position
            self.ledger.reset(tp, position)
        self._working.clear()
        self._note_progress()
        logger.info("reading %s", _named(seek.positions) or "nothing: no partition is left for it")

    async def _claim(self, sink: Sink, owned: list[TP]) -> None:
        """Claim `sink`; brokers that have just gone are waited for, as by every read and write."""
        while True:
            try:
                await sink.claim(owned)
            except KafkaConnectionError as error:
                self.log.warning("cannot claim %s yet: %s", owned, error)
                await self.sleep(CLAIM_AGAIN_S)
            else:
                return

    async def seek(self, partition: TP, offset: int) -> None:
        """Not offered: the ledger goes on from committed offsets only."""
        raise NotImplementedError(f"{partition}: commit {offset} for the group instead of seeking")

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: a chunk covers the gaps between and behind its records."""

    # -- acknowledging

    def begin(self, delivery: Delivery) -> None:
        """An agent has taken a chunk in hand: a rebalance waits for it, `DRAIN_S` at most."""
        self._working.add(delivery)

    def owns(self, delivery: Delivery) -> bool:
        """Whether a chunk is still to be written here; not after a revocation or a seek."""
        return self.ledger.holds(delivery.ticket)

    def complete(self, delivery: Delivery, *, committed: bool = False) -> None:
        """All outputs of a chunk are safe; its offsets may be, or are already, committed."""
        self._working.discard(delivery)
        tp = delivery.ticket.partition
        had_room = self._has_room(tp)
        if self.ledger.ack(delivery.ticket):
            done = self.ledger.committable(tp)
            if committed and done is not None:
                self.ledger.committed(tp, done)
            if not had_room:
                self._thread.wake_up()
        self._note_progress()

    def abandon(self, delivery: Delivery) -> None:
        """A chunk is not written here: nobody waits for it any more."""
        self._working.discard(delivery)
        self._note_progress()

    def _note_progress(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    async def _wait_for_progress(self, seconds: float) -> None:
        await self.wait(self._progress.wait(), timeout=seconds)

    async def wait_empty(self) -> None:
        """Wait for the chunks that agents work on, `DRAIN_S` at most, then commit.

        What is not complete by then is abandoned: never committed, delivered again.
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
        """Commit all that is acknowledged, also what a commit under way came too early for."""
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
        """Drain and commit first, then forget."""
        await super().on_partitions_revoked(revoked)
        self.ledger.revoke(revoked)
        if self._sink is not None:
            await self._sink.release(revoked)

    # -- watching

    async def verify_all_partitions_active(self) -> None:
        """Log partitions that have work and make no progress; Faust asks now and then."""
        self.idle_s()

    def idle_s(self) -> dict[TP, float]:
        """Seconds without progress of each owned partition; 0 where there is nothing to do.

        Progress is a chunk that was acknowledged or a position that moved. There is something to
        do while chunks are in flight, committed records wait, or no position has been found.
        """
        now_s = monotonic()
        self._stalls.keep(self.ledger)
        return {tp: self._look(tp, now_s) for tp in self.ledger}

    def _look(self, tp: TP, now_s: float) -> float:
        done, position, end = self.ledger.done(tp), self._thread.where(tp), self._thread.end(tp)
        chunks = self.ledger.in_flight(tp)
        working = bool(chunks) or position is None or (end is not None and position < end)
        if self._stalls.look(tp, (done, position), now_s, working=working):
            self.log.error(
                "%s[%d]: no progress for %.0f s: %d chunks are in hand, acknowledged up to %s, "
                "fetched up to %s of %s",
                tp.topic, tp.partition, self._stalls.idle_s(tp, now_s), chunks, done, position, end,
            )  # fmt: skip
        return self._stalls.idle_s(tp, now_s)

    def lag(self) -> dict[TP, int | None]:
        """Records behind the end of each owned partition that are not acknowledged yet.

        None where that is not known yet: the broker has not told the end, or where to begin.
        """
        return {tp: self._behind(tp) for tp in self.ledger}

    def _behind(self, tp: TP) -> int | None:
        end, done = self.highwater(tp), self.ledger.done(tp)
        if done is None and not self.ledger.in_flight(tp):
            done = self._thread.where(tp)
        return None if end is None or done is None else max(0, end - done)


def _bytes(part: Callable[[Any], bytes | None], records: Iterable[Any]) -> int:
    """Bytes of a part of all records; without a Python step per record."""
    return sum(map(len, filter(None, map(part, records))))


def _header_bytes(records: Iterable[Any]) -> int:
    """Bytes that the headers of all records take in memory, about."""
    return HEADER_BYTES_HELD * sum(map(len, map(_HEADERS, records)))


class Conductor(FaustConductor):  # type: ignore[misc]
    """Faust's conductor, quicker to subscribe."""

    _resubscribe_sleep_lock_seconds: float = 1.0


class Transport(base.Transport):  # type: ignore[misc]
    """What ``weir://`` names."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    Producer: ClassVar[type[Producer]] = Producer
    Conductor: ClassVar[type[Conductor]] = Conductor

    def __init__(self, url: Any, app: AppT, **kwargs: Any) -> None:
        super().__init__(url, app, **kwargs)
        if app.conf.consumer_auto_offset_reset != "earliest":
            raise ImproperlyConfigured(
                "consumer_auto_offset_reset: 'earliest' is needed; anything else would skip the "
                "chunks that were in flight when nothing had been committed yet"
            )


def _named(partitions: Iterable[TP]) -> str:
    """``topic[0, 1], other[3]``."""
    by_topic = defaultdict[str, list[int]](list)
    for tp in sorted(partitions):
        by_topic[tp.topic].append(tp.partition)
    return ", ".join(f"{topic}{numbers}" for topic, numbers in by_topic.items())
