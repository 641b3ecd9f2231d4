"""A hand-written loop on confluent-kafka with transactions: consume, transform, produce.

As in confluent-kafka's example of exactly-once processing: what `consume` brought is written in one
transaction, together with the consumer's position (KIP-447: one producer, fenced by the group's
generation and member). librdkafka batches and sends in threads of its own.
"""

import signal
import uuid

from confluent_kafka import Producer, TopicPartition

from benchmarks.transport.contenders.confluent_client import (
    PRODUCER,
    consumer_of,
    fetch,
    produce_all,
)
from benchmarks.transport.contenders.work import Work

SECONDS = 30.0


class Loop:
    """Consume, decide, produce, commit outputs and offsets together."""

    def __init__(self, work: Work) -> None:
        self._work = work
        kafka, worker = work.settings.kafka, work.settings.worker
        self._chunk = worker.max_chunk_records
        self._consumer = consumer_of(work.settings)
        self._producer = Producer(
            {
                **PRODUCER,
                "bootstrap.servers": kafka.bootstrap,
                "transactional.id": f"{kafka.group}-{uuid.uuid4().hex}",
            }
        )
        self._running = True

    def run(self) -> None:
        """Run until SIGTERM."""
        signal.signal(signal.SIGTERM, self._stop)
        topic = self._work.settings.topics.requests
        self._producer.init_transactions(SECONDS)
        self._consumer.subscribe([topic])
        while self._running:
            fetched = fetch(self._consumer, self._chunk)
            if fetched:
                self._producer.begin_transaction()
                done = produce_all(self._producer, self._work, fetched)
                self._producer.send_offsets_to_transaction(
                    [TopicPartition(topic, number, at) for number, at in done.items()],
                    self._consumer.consumer_group_metadata(),
                    SECONDS,
                )
                self._producer.commit_transaction(SECONDS)
        self._consumer.close()

    def _stop(self, *_: object) -> None:
        self._running = False


if __name__ == "__main__":
    Loop(Work()).run()
