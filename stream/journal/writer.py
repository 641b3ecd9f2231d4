"""Writes the journal of a worker to its topic, a few times a second."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from mode import Service

from models.settings import Settings
from stream.journal.blocks import BlockWriter
from stream.journal.metrics import JournalMetrics
from stream.journal.recorder import Recorder
from stream.kafka.client import client_options, topic_partitions
from stream.kafka.topics import TopicError
from stream.messages.journal import Stopped

logger = logging.getLogger(__name__)

WRITE_S: Final = 0.2
"""Time between two writes: the last entries of a worker that is killed are not in its journal."""
RETRY_S: Final = 1.0
STOP_LIMIT_S: Final = 2.0
"""Longest that the end of a worker waits for its last entries to be written."""


class JournalWriter(Service):  # type: ignore[misc]
    """Writes what a recorder collects.

    A block is written again until a broker acknowledges it, and the next one after it. While
    brokers do not answer, entries wait in memory; if they exceed the recorder's bound, the journal
    ends, which is logged and counted, and the worker goes on without one.

    Args:
        settings: Brokers and topics.
        worker: Name of the worker, the key of all records.
        recorder: Collects the entries.
        metrics: Counts bytes, and shows whether the journal has ended.
    """

    def __init__(
        self, settings: Settings, worker: str, recorder: Recorder, metrics: JournalMetrics
    ) -> None:
        super().__init__()
        self._settings = settings
        self._key = worker.encode()
        self._recorder = recorder
        self._metrics = metrics
        self._blocks = BlockWriter()
        self._unwritten: deque[bytes] = deque()
        self._writing = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._ended = False

    async def on_start(self) -> None:
        """Connect, and write the first entry.

        Raises:
            TopicError: If there is no such topic.
        """
        settings, topic = self._settings, self._settings.topics.journal
        if not (await topic_partitions(settings.kafka, topic))[topic]:
            raise TopicError(
                f"{topic}: no such topic, and worker.journal is set; `weir topics` creates it"
            )
        codec = settings.worker.compression
        self._producer = AIOKafkaProducer(
            **client_options(settings.kafka),
            acks="all",
            compression_type=None if codec == "none" else codec,
        )
        await self._producer.start()
        await self._write()
        logger.info("%s: the journal of worker %s", topic, self._key.decode())

    async def on_stop(self) -> None:
        """Write the rest, with the end; services that change the policy have stopped before."""
        if self._producer is None:
            return
        self._recorder.add(Stopped())
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(self._write(), STOP_LIMIT_S)
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(self._producer.stop(), STOP_LIMIT_S)

    @Service.task  # type: ignore[untyped-decorator]
    async def _write_often(self) -> None:
        failing = False
        while not self.should_stop:
            await self.sleep(RETRY_S if failing else WRITE_S)
            try:
                await self._write()
                failing = False
            except KafkaError as error:
                if not failing:
                    logger.warning(
                        "%s: not written (%r); it is tried again",
                        *(self._settings.topics.journal, error),
                    )
                failing = True
            if self._recorder.ended and not self._ended:
                self._ended = True
                self._metrics.ended.set(1)
                logger.error(
                    "%s: could not be written for too long; the journal of worker %s ends here, "
                    "and its later decisions cannot be reproduced; restart it for a new one",
                    *(self._settings.topics.journal, self._key.decode()),
                )

    async def _write(self) -> None:
        """Write everything that has been collected.

        Raises:
            KafkaError: If a block cannot be written; it is the first one of the next call.
        """
        assert self._producer is not None
        async with self._writing:
            self._unwritten.extend(self._blocks.blocks(self._recorder.take()))
            while self._unwritten:
                block = self._unwritten[0]
                await self._producer.send_and_wait(
                    self._settings.topics.journal, block, key=self._key
                )
                self._unwritten.popleft()
                self._metrics.bytes.inc(len(block))
