"""One run of traffic: publishes requests while the world downstream answers those that pass.

With outcomes it goes on after the last request until the workers have decided all of them and the
longest attribution window has closed, so that feedback has got what it will ever get. What they
have decided is read off the group's committed offsets: outputs cannot be counted by offsets, for
workers that write exactly once leave a marker behind each transaction.
"""

import asyncio
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.settings import Settings
from stream.kafka.client import bounded_consumer, client_options, topic_partitions
from trainer.simulation.traffic import Traffic
from trainer.traffic.downstream import Downstream
from trainer.traffic.publish import Publisher, Shipment
from trainer.traffic.sender import BatchSender

logger = logging.getLogger(__name__)

POLL_S: Final = 0.2
IDLE_S: Final = 10.0
"""With requests undecided and nothing decided for so long, there are no workers."""
WINDOWS: Final = 1.25
"""Longest attribution windows to wait after the last request."""


def known_to(downstream: Downstream | None, batches: Iterable[Traffic]) -> Iterator[Traffic]:
    """The batches, each made known downstream before it is published."""
    for traffic in batches:
        if downstream is not None:
            downstream.learn(traffic)
        yield traffic


async def run_campaign(
    settings: Settings,
    shipments: Iterable[Shipment],
    downstream: Downstream | None = None,
    time_scale: float = 1.0,
    total: int | None = None,
) -> dict[str, Any]:
    """Publish everything, and play downstream until all has settled.

    Args:
        settings: Brokers, topics and tasks.
        shipments: What to publish; their requests are known to ``downstream``.
        downstream: Answers what passes; None leaves outcomes to somebody else.
        time_scale: Divides the attribution windows.
        total: Requests to expect, for the progress bar.

    Returns:
        ``published``, ``publish_seconds``, ``seconds``, and with a downstream ``passed``,
        ``outcomes`` (all), ``duplicates``, ``held``, ``unknown``, and ``unsent`` (events that lie
        after the end).

    Raises:
        SendError: If a topic is missing.
        KafkaError: If the brokers refuse something.
    """
    started = time.monotonic()
    try:
        publisher, publish_seconds = await _run(settings, shipments, downstream, time_scale, total)
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    summary: dict[str, Any] = {
        "published": publisher.published,
        "publish_seconds": round(publish_seconds, 3),
        "seconds": round(time.monotonic() - started, 3),
    }
    if downstream is not None:
        counts = asdict(downstream.counts)
        summary |= {"passed": downstream.passed, "outcomes": counts.pop("sent"), **counts}
        summary["unsent"] = downstream.pending
    return summary


async def _run(
    settings: Settings,
    shipments: Iterable[Shipment],
    downstream: Downstream | None,
    time_scale: float,
    total: int | None,
) -> tuple[Publisher, float]:
    """The campaign itself; the publisher, and the seconds that publishing took."""
    started = time.monotonic()
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        progress = await stack.enter_async_context(_Workers(settings))
        sender = BatchSender(client_options(settings.kafka), settings.topics.requests)
        publisher = Publisher(await stack.enter_async_context(sender))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(_show(publisher, total, stop))
        if downstream is not None:
            group.create_task(downstream.run(stop))
            await downstream.ready.wait()
        await publisher.publish(shipments)
        publish_seconds = time.monotonic() - started
        if downstream is not None:
            await _settle(settings, progress, downstream, time_scale)
        stop.set()
    return publisher, publish_seconds


class _Workers:
    """How far the workers are, from outside."""

    def __init__(self, settings: Settings) -> None:
        self._topics = settings.topics
        self._kafka = settings.kafka
        self._consumer = bounded_consumer(
            settings.kafka,
            group_id=settings.kafka.group,  # whose offsets are looked up; nothing joins it
            max_partition_fetch_bytes=1,
        )

    async def __aenter__(self) -> Self:
        topics = self._topics
        try:
            await self._consumer.start()
            found = await topic_partitions(self._kafka, topics.requests, topics.passed)
        except BaseException:
            await self._consumer.stop()
            raise
        self._requests, self._passed = found[topics.requests], found[topics.passed]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def published(self) -> dict[TopicPartition, int]:
        """Ends of the requests' partitions."""
        return await exact_ends(self._consumer, self._requests)

    async def passed(self) -> dict[TopicPartition, int]:
        """Ends of the passed requests' partitions."""
        return await exact_ends(self._consumer, self._passed)

    async def undecided(self, ends: dict[TopicPartition, int]) -> int:
        """Offsets before `ends` that the group has not committed."""
        self._consumer.assign(list(ends))
        behind = 0
        for tp, end in ends.items():
            behind += max(0, end - (await self._consumer.committed(tp) or 0))
        return behind


async def exact_ends(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> dict[TopicPartition, int]:
    """End offsets of partitions, which are assigned to `consumer`, by fetching before them.

    The embedded broker's own answer is one past the *first* record of the last batch; the high
    watermark that comes with a fetch is right on every broker. The last offset may hold no record,
    but the marker of a transaction.
    """
    consumer.assign(partitions)
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    filled = [tp for tp, end in ends.items() if end > 0]
    for tp in partitions:
        consumer.seek(tp, max(ends[tp] - 1, 0))
    while any(consumer.highwater(tp) is None for tp in filled):
        await consumer.getmany(*filled, timeout_ms=100)
    return ends | {tp: max(ends[tp], consumer.highwater(tp)) for tp in filled}


async def _settle(
    settings: Settings, workers: _Workers, downstream: Downstream, time_scale: float
) -> None:
    """Wait until everything is decided and answered, or there are no workers to decide it."""
    wait_s = WINDOWS * max(task.window_s for task in settings.tasks) / time_scale
    logger.info(
        "all requests are published; their outcomes follow for %s; a larger --time-scale "
        "shortens that, Ctrl-C ends it, --no-outcomes publishes none",
        timedelta(seconds=math.ceil(wait_s)),
    )
    published = await workers.published()
    end, last, moved = time.monotonic() + wait_s, (-1, -1), time.monotonic()
    while True:
        undecided = await workers.undecided(published)
        unanswered = await downstream.unread(await workers.passed())
        if (undecided, unanswered) != last:
            last, moved = (undecided, unanswered), time.monotonic()
        idle = time.monotonic() - moved > IDLE_S
        if time.monotonic() > end and (not any(last) or idle):
            return
        await asyncio.sleep(POLL_S)


async def _show(publisher: Publisher, total: int | None, stop: asyncio.Event) -> None:
    """A progress bar on a terminal."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("published"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("published", total=total)
        while not stop.is_set():
            progress.update(task, completed=publisher.published)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), POLL_S)
        progress.update(task, completed=publisher.published)
