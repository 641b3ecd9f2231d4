"""A hand-written loop on confluent-kafka, as its documentation recommends for at-least-once.

`consume` brings up to a chunk of messages, `produce` queues, librdkafka batches and sends in
threads of its own. Once a second everything is flushed and the offsets are committed. Delivery
reports are asked for failures only, and a failure ends the process.
"""

import signal
import time

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from benchmarks.transport.contenders.confluent_client import (
    PRODUCER,
    consumer_of,
    fetch,
    produce_all,
)
from benchmarks.transport.contenders.work import COMMIT_S, Work


class Loop:
    """Consume, decide, produce; flush and commit once a second."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._chunk = work.settings.worker.max_chunk_records
        self._consumer = consumer_of(work.settings)
        bootstrap = work.settings.kafka.bootstrap
        self._producer = Producer(
            {**PRODUCER, "bootstrap.servers": bootstrap, "on_delivery": self._failed}
        )
        self._failure: KafkaError | None = None
        self._done: dict[int, int] = {}
        self._running = True

    def run(self) -> None:
        """Run until SIGTERM."""
        signal.signal(signal.SIGTERM, self._stop)
        topic = self._work.settings.topics.requests
        self._consumer.subscribe([topic])
        due = time.monotonic() + COMMIT_S
        while self._running:
            fetched = fetch(self._consumer, self._chunk)
            self._done |= produce_all(self._producer, self._work, fetched)
            if time.monotonic() >= due:
                self._commit(topic)
                due = time.monotonic() + COMMIT_S
        self._commit(topic)
        self._consumer.close()

    def _stop(self, *_: object) -> None:
        self._running = False

    def _failed(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error

    def _commit(self, topic: str) -> None:
        self._producer.flush()
        if self._failure is not None:
            raise KafkaException(self._failure)
        if self._done:
            offsets = [TopicPartition(topic, number, at) for number, at in self._done.items()]
            self._consumer.commit(offsets=offsets, asynchronous=False)
            self._done = {}


if __name__ == "__main__":
    Loop(Work()).run()
