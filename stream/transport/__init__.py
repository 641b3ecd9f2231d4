"""A Faust transport that delivers one event per fetched chunk, at least once or exactly once.

It does not depend on bids or models. How an app uses it::

    import faust
    from stream.transport import TransactionalSink, app_options, attach, chunk_topic, relay

    app = faust.App("group", **app_options(
        bootstrap="127.0.0.1:9092", session_timeout_s=30,
        max_chunk_records=2000, max_chunk_bytes=8_388_608,
    ))
    sink = TransactionalSink(
        {"bootstrap_servers": "127.0.0.1:9092"}, "group", ["copies"], heartbeat_s=3,
    )                                  # or ChunkSink(client, ["copies"]): at least once
    attach(app, sink, max_bytes=256 * 1024 * 1024)

    async def copy(chunks):            # Chunk: topic, partition, records, ...
        return [{"copies": chunk.records} for chunk in chunks]

    @app.agent(chunk_topic(app, "requests"))
    async def agent(stream):
        await relay(stream, copy, sink)

Start the sink before the app, for example in a service that the app depends on.

- `relay(stream, transform, sink)`: transforms chunks, fetch by fetch, while earlier ones are
  written, with the guarantee of the sink.
- `ChunkSink(client, topics)`: at least once. Outputs are acknowledged by all replicas before the
  chunk's offset is committed. ``await sink.send(topic, partition, records)`` writes any records.
- `TransactionalSink(client, group, topics)`: exactly once. Outputs and offsets in one transaction.
- `chunks(stream)`: for agents that do something else with a chunk than to relay it. A chunk is
  acknowledged when the body of the loop has ended without an exception; one that raises stops the
  process with a non-zero status, with its chunk uncommitted.
- `Chunk`: ``records`` (aiokafka's ``ConsumerRecord``, raw bytes), ``start``, ``next_offset``,
  ``size`` in bytes; iterable, with a length. Outputs may be fetched records, or
  `Outgoing(key, value, timestamp, headers)`.
- `bound_batches(app, ...)`: the limits of a batch; one that cannot be read is refused and does not
  stop the app.
- `consumer_lag(app)`: (topic, partition) to records not acknowledged yet.
- `raise_client_errors(app)`, `has_coordinator(app)`: state of the Kafka client that it does not
  publish.
- `report_incidents(app, incidents)`: counts and logs problems of the topics.
- `idle_partitions(app)`: (topic, partition) to seconds without progress although there is work;
  `joined(app)`: whether the group has assigned partitions.
- `trace_chunks(app, tracer)`: times every chunk; see `stream.trace.tracer`.
- `turns()`: lets everything else run; await it between two batches of work.
- `app_options(...)`: the settings of Faust that all this needs.

The way of a chunk: `fetcher` (the connection) -> `consumer` (chunks, commits; `ledger` gives the
offset to commit, `room` bounds what is in flight) -> `agent` (`chunks`, `relay`) ->
`output.at_least_once`, or `output.exactly_once` with `lanes` (one `lane` and its
`output.transactions` for all partitions, others for slow ones) -> `output.batching` and
`batch_builder` -> `output.producer`. `driver` registers it with Faust. Problems of topics:
`offset_reset`, `corrupt_partitions` and `stall_detector` when reading,
`output.output_topics` and `output.slow_writes` when writing; they report to `incidents`.
`log_throttle` bounds aiokafka's log.
docs/faust.md lists what is overridden of Faust and aiokafka, and why.
"""

from stream.transport.agent import (
    attach,
    bound_batches,
    chunk_topic,
    chunks,
    consumer_lag,
    idle_partitions,
    joined,
    relay,
    report_incidents,
    trace_chunks,
)
from stream.transport.app_options import app_options, broker_url, heartbeat_s
from stream.transport.chunk import (
    Chunk,
    FetchedRecord,
    Instead,
    Outputs,
    Record,
    RecordsRefusedError,
    RecordTooLargeError,
)
from stream.transport.client_state import has_coordinator, raise_client_errors
from stream.transport.concurrency import turns
from stream.transport.incidents import Incidents, OffsetsMissingError, TopicChangedError
from stream.transport.lanes.state import LaneError, LaneState, ReleasedError
from stream.transport.ledger import LedgerError, OffsetLedger
from stream.transport.output.at_least_once import ChunkSink
from stream.transport.output.exactly_once import TransactionalSink, TransactionsUnsupportedError
from stream.transport.output.output_topics import OutputTopics, PartitionsError
from stream.transport.output.sink import Member, Outgoing, Sink

__all__ = [
    "Chunk",
    "ChunkSink",
    "FetchedRecord",
    "Incidents",
    "Instead",
    "LaneError",
    "LaneState",
    "LedgerError",
    "Member",
    "OffsetLedger",
    "OffsetsMissingError",
    "Outgoing",
    "OutputTopics",
    "Outputs",
    "PartitionsError",
    "Record",
    "RecordTooLargeError",
    "RecordsRefusedError",
    "ReleasedError",
    "Sink",
    "TopicChangedError",
    "TransactionalSink",
    "TransactionsUnsupportedError",
    "app_options",
    "attach",
    "bound_batches",
    "broker_url",
    "chunk_topic",
    "chunks",
    "consumer_lag",
    "has_coordinator",
    "heartbeat_s",
    "idle_partitions",
    "joined",
    "raise_client_errors",
    "relay",
    "report_incidents",
    "trace_chunks",
    "turns",
]
