"""Quix Streams: a `BatchingSink`, its documented way to handle records many at a time.

Quix runs a pipeline record by record; a batching sink collects what came through it, per
partition, until the next checkpoint. A checkpoint comes after a chunk of records: it hands the
batches over here, and commits the offsets when everything produced has been flushed.
"""

from tempfile import TemporaryDirectory
from typing import cast

from confluent_kafka import KafkaError, KafkaException, Message
from quixstreams import Application
from quixstreams.kafka import Producer
from quixstreams.models import HeadersTuples
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.transport.contenders.work import COMMIT_S, Fetched, Work
from stream.messages import Headers


class InterceptSink(BatchingSink):  # type: ignore[misc]
    """Decides a batch and produces its outputs.

    Args:
        work: Decides.
        producer: Writes; made once by the application's own factory.
    """

    def __init__(self, work: Work, producer: Producer) -> None:
        super().__init__()
        self._work = work
        self._producer = producer
        self._failure: KafkaError | None = None

    def write(self, batch: SinkBatch) -> None:
        """Returns when the broker has acknowledged the outputs."""
        records = [
            Fetched(
                batch.topic,
                batch.partition,
                item.key,
                item.value,
                item.timestamp,
                item.offset,
                cast(Headers, item.headers or ()),  # bytes, although Quix's type differs
            )
            for item in batch
        ]
        for topic, outputs in self._work.decide(records):
            for key, value, timestamp, headers, _source in outputs:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    cast(HeadersTuples, list(headers)),
                    batch.partition,
                    timestamp,
                    on_delivery=self._delivered,
                )
        self._producer.flush()
        if self._failure is not None:
            raise KafkaException(self._failure)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error


def main() -> None:
    """Run until SIGTERM."""
    work = Work()
    kafka, worker = work.settings.kafka, work.settings.worker
    with TemporaryDirectory() as state:
        app = Application(
            broker_address=kafka.bootstrap,
            consumer_group=kafka.group,
            auto_offset_reset="earliest",
            commit_interval=COMMIT_S,
            commit_every=worker.max_chunk_records,
            state_dir=state,
            auto_create_topics=False,
            loglevel="WARNING",
            consumer_extra_config={
                "max.partition.fetch.bytes": worker.max_chunk_bytes,
                "queued.min.messages": 10 * worker.max_chunk_records,
                "fetch.queue.backoff.ms": 10,
            },
            producer_extra_config={
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "batch.size": 1_000_000,
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": 1_000_000,
                "delivery.report.only.error": True,
            },
        )
        requests = app.topic(
            work.settings.topics.requests, value_deserializer="bytes", key_deserializer="bytes"
        )
        frame = app.dataframe(requests)
        with app.get_producer() as producer:
            frame.sink(InterceptSink(work, producer))
            app.run()


if __name__ == "__main__":
    main()
