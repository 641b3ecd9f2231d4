"""A Faust transport that delivers one event per fetched chunk, at least once.

It knows nothing of bids or models. What an app uses of it::

    import faust
    from stream.transport import ChunkSink, app_options, chunk_topic, chunks, consumer_lag

    app = faust.App("group", **app_options(
        bootstrap="127.0.0.1:9092", session_timeout_s=30,
        max_chunk_records=2000, max_chunk_bytes=8_388_608,
    ))

    @app.agent(chunk_topic(app, "requests"))
    async def copy(stream):
        async with ChunkSink({"bootstrap_servers": "127.0.0.1:9092"}) as sink:
            async for chunk in chunks(stream):          # a Chunk: topic, partition, records, ...
                await sink.send("copies", chunk.partition, chunk.records)
            # the chunk is acknowledged here, and its offsets are committed some time after

- `chunks(stream)`: the chunks, each acknowledged when the body of the loop has ended without an
  exception. One that raises stops the process with a non-zero status, its chunk uncommitted.
- `Chunk`: ``records`` (aiokafka's ``ConsumerRecord``, raw bytes), ``first_offset``,
  ``next_offset``, ``size`` in bytes; iterable, with a length.
- `ChunkSink(client_options)`: ``await sink.send(topic, partition, records)`` returns when all are
  acknowledged. Records are fetched ones or `Outgoing(key, value, timestamp, headers)`.
- `consumer_lag(app)`: (topic, partition) to records not acknowledged yet.
- `app_options(...)`: the settings of Faust that make all this hold.

The way of a chunk: `fetcher` (the thread with the connection) -> `driver` (consumer, commits) ->
`agent` (the loop) -> `sink`; `ledger` says what may be committed.
"""

from stream.transport.agent import chunk_topic, chunks, consumer_lag
from stream.transport.app import app_options, broker_url
from stream.transport.chunk import Chunk, Record
from stream.transport.ledger import LedgerError, OffsetLedger
from stream.transport.sink import ChunkSink, Outgoing, RecordTooLargeError

__all__ = [
    "Chunk",
    "ChunkSink",
    "LedgerError",
    "OffsetLedger",
    "Outgoing",
    "Record",
    "RecordTooLargeError",
    "app_options",
    "broker_url",
    "chunk_topic",
    "chunks",
    "consumer_lag",
]
