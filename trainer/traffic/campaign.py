"""A run of traffic: publishes requests and the outcomes of those that pass.

With outcomes it continues after the last request until the workers have decided all requests and
the longest attribution window has closed, so that all outcomes are written. Progress of the workers
is read from the committed offsets of the group, not from the ends of the output topics,
because transaction markers of exactly-once workers take offsets, too.
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
"""If requests are undecided and nothing was decided for this time, no worker is running."""
WINDOWS: Final = 1.25
"""Time to wait after the last request, in longest attribution windows."""


def registered(downstream: Downstream | None, batches: Iterable[Traffic]) -> Iterator[Traffic]:
    """Yield the batches, and register each with ``downstream`` before it is published."""
    for traffic in batches:
        if downstream is not None:
            downstream.register(traffic)
        yield traffic


async def run_campaign(
    settings: Settings,
    shipments: Iterable[Shipment],
    downstream: Downstream | None = None,
    time_scale: float = 1.0,
    total: int | None = None,
) -> dict[str, Any]:
    """Publish all requests, and outcomes until all requests are decided and answered.

    Args:
        settings: Brokers, topics and tasks.
        shipments: Requests to publish, registered with ``downstream``.
        downstream: Publishes the outcomes; None publishes no outcomes.
        time_scale: Divisor of the attribution windows.
        total: Number of requests, for the progress bar.

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
    """Run the campaign; return the publisher, and the seconds that publishing took."""
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
    """Progress of the workers, read from the brokers."""

    def __init__(self, settings: Settings) -> None:
        self._topics = settings.topics
        self._kafka = settings.kafka
        self._consumer = bounded_consumer(
            settings.kafka,
            group_id=settings.kafka.group,  # to read its offsets; this consumer does not join it
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
        """End offsets of the partitions of the request topic."""
        return await exact_ends(self._consumer, self._requests)

    async def passed(self) -> dict[TopicPartition, int]:
        """End offsets of the partitions of the pass topic."""
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
    """End offsets of partitions, from the high watermark of a fetch before each end.

    The partitions are assigned to `consumer`. The embedded broker reports the end as one past the
    *first* record of the last batch; the high watermark of a fetch is right on every broker. The
    last offset may be that of a transaction marker.
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
    """Wait until all requests are decided and answered, or no worker makes progress."""
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
    """Show a progress bar on a terminal until ``stop`` is set."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("published"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("published", total=total)
        while not stop.is_set():
            progress.update(task, completed=publisher.published)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), POLL_S)
        progress.update(task, completed=publisher.published)
