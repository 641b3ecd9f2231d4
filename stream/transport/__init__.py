"""A Faust transport that delivers one event per fetched chunk, at least once or exactly once.

It knows nothing of bids or models. What an app uses of it::

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

Start the sink before the app (a service that the app depends on is the place).

- `relay(stream, transform, sink)`: transforms chunks, fetch by fetch, and writes those before
  meanwhile, with the guarantee of the sink.
- `ChunkSink(client, topics)`: at least once. Outputs are acknowledged by all replicas before the
  chunk's offset is committed. ``await sink.send(topic, partition, records)`` writes anything.
- `TransactionalSink(client, group, topics)`: exactly once. Outputs and offset in one transaction.
- `chunks(stream)`: for agents that do something else with a chunk than to relay it; it is
  acknowledged when the body of the loop has ended without an exception. One that raises stops the
  process with a non-zero status, its chunk uncommitted.
- `Chunk`: ``records`` (aiokafka's ``ConsumerRecord``, raw bytes), ``start``, ``next_offset``,
  ``size`` in bytes; iterable, with a length. Outputs may be fetched records, or
  `Outgoing(key, value, timestamp, headers)`.
- `bound(app, ...)`: how batches are read; one that cannot be is refused and does not stop the app.
- `consumer_lag(app)`: (topic, partition) to records not acknowledged yet.
- `raise_client_errors(app)`, `has_coordinator(app)`: what the Kafka client keeps to itself.
- `report(app, incidents)`: counts and logs what befalls the topics (`incidents`).
- `idle_partitions(app)`: (topic, partition) to seconds without progress though there is work;
  `joined(app)`: whether the group has given out its partitions.
- `app_options(...)`: the settings of Faust that make all this hold.

The way of a chunk: `fetcher` (the thread with the connection) -> `driver` (consumer, commits) ->
`agent` (the loop) -> `sink` or `transactions` (a `lane` per partition) -> `batches`; `ledger` says
what may be committed. What befalls a topic: `positions` and `corruption` (reading), `outputs`,
`producing` and `waiting` (writing), `incidents` (reports), `quiet` (aiokafka's log).
"""

from stream.transport.agent import (
    attach,
    bound,
    chunk_topic,
    chunks,
    consumer_lag,
    idle_partitions,
    joined,
    relay,
    report,
)
from stream.transport.app import app_options, broker_url, heartbeat_s
from stream.transport.chunk import (
    Chunk,
    FetchedRecord,
    Outputs,
    Record,
    RecordsRefusedError,
    RecordTooLargeError,
)
from stream.transport.client_errors import has_coordinator, raise_client_errors
from stream.transport.incidents import Incidents, OffsetsMissingError, TopicChangedError
from stream.transport.lane import Instead, LaneError, LaneState, ReleasedError
from stream.transport.ledger import LedgerError, OffsetLedger
from stream.transport.output.outputs import OutputTopics, PartitionsError
from stream.transport.output.sink import ChunkSink, Outgoing, Sink
from stream.transport.output.transactions import TransactionalSink, TransactionsUnsupportedError

__all__ = [
    "Chunk",
    "ChunkSink",
    "FetchedRecord",
    "Incidents",
    "Instead",
    "LaneError",
    "LaneState",
    "LedgerError",
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
    "bound",
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
    "report",
]
