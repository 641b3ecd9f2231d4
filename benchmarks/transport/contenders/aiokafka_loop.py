"""A hand-written loop on aiokafka, as good as its documentation lets one write it.

Batches are packed with `create_batch` and sent with `send_batch` ("Batch producer" in aiokafka's
examples), since a future per record is what makes its producer slow. While the broker writes one
chunk, the next is decided; before offsets are committed, everything sent is acknowledged.
"""

import asyncio
import signal
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.transport.contenders.work import COMMIT_S, Work
from stream.kafka.client import client_options
from stream.transport import Outgoing

BATCH_BYTES = 1_000_000


class Loop:
    """Fetch, decide, send; commit once a second what is acknowledged."""

    def __init__(self, work: Work) -> None:
        self._work = work
        client = client_options(work.settings.kafka)
        worker = work.settings.worker
        self._consumer = AIOKafkaConsumer(
            work.settings.topics.requests,
            **client,
            group_id=work.settings.kafka.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=worker.max_chunk_bytes,
            max_poll_records=worker.max_chunk_records,
        )
        self._producer = AIOKafkaProducer(
            **client,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            max_request_size=4 * BATCH_BYTES,
        )
        self._sent: list[asyncio.Future[Any]] = []
        self._done: dict[TopicPartition, int] = {}
        self._running = True

    async def run(self) -> None:
        """Run until SIGTERM."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        async with self._consumer, self._producer:
            due = time.monotonic() + COMMIT_S
            while self._running:
                fetched = await self._consumer.getmany(timeout_ms=200)
                for tp, records in fetched.items():
                    for topic, outputs in self._work.decide(records):
                        await self._send(topic, tp.partition, outputs)
                    self._done[tp] = records[-1].offset + 1
                if time.monotonic() >= due:
                    await self._commit()
                    due = time.monotonic() + COMMIT_S
            await self._commit()

    def _stop(self) -> None:
        self._running = False

    async def _send(self, topic: str, partition: int, outputs: list[Outgoing]) -> None:
        batch = self._producer.create_batch()
        for key, value, timestamp, headers, _source in outputs:
            listed = list(headers)
            if batch.append(timestamp=timestamp, key=key, value=value, headers=listed) is None:
                await self._flush(batch, topic, partition)
                batch = self._producer.create_batch()
                batch.append(timestamp=timestamp, key=key, value=value, headers=listed)
        await self._flush(batch, topic, partition)

    async def _flush(self, batch: Any, topic: str, partition: int) -> None:
        self._sent.append(await self._producer.send_batch(batch, topic, partition=partition))

    async def _commit(self) -> None:
        sent, self._sent = self._sent, []
        await asyncio.gather(*sent)
        if self._done:
            await self._consumer.commit(self._done)
            self._done = {}


async def main() -> None:
    """Run until SIGTERM."""
    await Loop(Work()).run()


if __name__ == "__main__":
    asyncio.run(main())
