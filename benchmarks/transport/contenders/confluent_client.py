"""What both hand-written loops on confluent-kafka share: clients, fetching, producing."""

from collections import defaultdict
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, Producer

from benchmarks.transport.contenders.work import Fetched, Work
from models.settings import Settings

#: Options of a producer.
PRODUCER: Final[dict[str, Any]] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 5,
    "batch.size": 1_000_000,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 1_000_000,
    "delivery.report.only.error": True,
}
_QUIET_S: Final = 0.05


def consumer_of(settings: Settings) -> Consumer:
    """A consumer of the group that commits nothing by itself."""
    kafka, worker = settings.kafka, settings.worker
    return Consumer(
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


def fetch(consumer: Consumer, most: int) -> dict[int, list[Fetched]]:
    """What is there, by partition, up to `most` messages; waits a moment for the first.

    `consume` alone would wait for all that it was asked for, which costs latency under any load
    that the loop can take.

    Raises:
        KafkaException: If a partition cannot be read.
    """
    first = consumer.poll(_QUIET_S)
    messages = [] if first is None else [first, *consumer.consume(most - 1, timeout=0.0)]
    fetched: defaultdict[int, list[Fetched]] = defaultdict(list)
    for message in messages:
        if message.error():
            raise KafkaException(message.error())
        fetched[message.partition()].append(_fetched(message))
    return fetched


def produce_all(
    producer: Producer, work: Work, fetched: dict[int, list[Fetched]]
) -> dict[int, int]:
    """Decide and produce; returns the offset after the last message of each partition."""
    produce = producer.produce
    for partition, records in fetched.items():
        for topic, outputs in work.decide(records):
            for key, value, timestamp, headers, _source in outputs:
                produce(topic, value, key, partition, timestamp=timestamp, headers=list(headers))
            producer.poll(0)
    return {partition: records[-1].offset + 1 for partition, records in fetched.items()}


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
