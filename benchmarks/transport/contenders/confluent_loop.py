"""A hand-written loop on confluent-kafka, as its documentation recommends for at-least-once.

`consume` brings up to a chunk of messages, `produce` queues, librdkafka batches and sends in
threads of its own. Once a second everything is flushed and the offsets are committed. Delivery
reports are asked for failures only, and a failure ends the process.
"""

import signal
import time
from collections import defaultdict

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from benchmarks.transport.contenders.work import COMMIT_S, Fetched, Work


class Loop:
    """Consume, decide, produce; flush and commit once a second."""

    def __init__(self, work: Work) -> None:
        self._work = work
        kafka, worker = work.settings.kafka, work.settings.worker
        self._chunk = worker.max_chunk_records
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "group.id": kafka.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "max.partition.fetch.bytes": worker.max_chunk_bytes,
                "queued.min.messages": 10 * worker.max_chunk_records,
                "fetch.queue.backoff.ms": 10,
            }
        )
        self._producer = Producer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "batch.size": 1_000_000,
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": 1_000_000,
                "delivery.report.only.error": True,
                "on_delivery": self._failed,
            }
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
            self._handle(self._consumer.consume(self._chunk, timeout=0.05))
            if time.monotonic() >= due:
                self._commit(topic)
                due = time.monotonic() + COMMIT_S
        self._commit(topic)
        self._consumer.close()

    def _stop(self, *_: object) -> None:
        self._running = False

    def _handle(self, messages: list[Message]) -> None:
        fetched: defaultdict[int, list[Fetched]] = defaultdict(list)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            fetched[message.partition()].append(_fetched(message))
        produce = self._producer.produce
        for partition, records in fetched.items():
            for topic, outputs in self._work.decide(records):
                for key, value, timestamp, headers, _source in outputs:
                    produce(
                        topic, value, key, partition, timestamp=timestamp, headers=list(headers)
                    )
                self._producer.poll(0)
            self._done[partition] = records[-1].offset + 1

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


def _fetched(message: Message) -> Fetched:
    return Fetched(
        message.topic(),
        message.partition(),
        message.key(),
        message.value(),
        message.timestamp()[1],
        message.offset(),
        message.headers() or (),
    )


if __name__ == "__main__":
    Loop(Work()).run()
