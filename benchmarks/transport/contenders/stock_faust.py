"""A stock Faust agent: `take_events` gives lists of events, `send` writes, futures are awaited.

The agent continues when all its outputs are acknowledged; Faust then acknowledges the events. Its
buffer holds two takes, its producer batches.
"""

import asyncio
from collections import defaultdict
from tempfile import TemporaryDirectory

import faust

from benchmarks.transport.contenders.work import COMMIT_S, Fetched, Work
from stream.transport import chunk_topic

WITHIN_S = 0.05

work = Work()
datadir = TemporaryDirectory()
kafka, topics, worker = work.settings.kafka, work.settings.topics, work.settings.worker
app = faust.App(
    kafka.group,
    broker=";".join(f"kafka://{server.strip()}" for server in kafka.bootstrap.split(",")),
    broker_max_poll_records=worker.max_chunk_records,
    broker_commit_interval=COMMIT_S,
    consumer_max_fetch_size=worker.max_chunk_bytes,
    consumer_auto_offset_reset="earliest",
    producer_acks=-1,
    producer_linger=0.005,
    producer_max_batch_size=1_000_000,
    producer_max_request_size=4_000_000,
    stream_buffer_maxsize=2 * worker.max_chunk_records,
    topic_disable_leader=True,
    datadir=datadir.name,
    store="memory://",
    web_enabled=False,
    worker_redirect_stdouts=False,
)
outputs_of = {
    name: chunk_topic(app, name) for name in (topics.passed, topics.blocked, topics.rejected)
}


@app.agent(chunk_topic(app, topics.requests))  # type: ignore[untyped-decorator]
async def intercept(stream: faust.StreamT[bytes]) -> None:
    """Decide the events of one take, partition by partition."""
    async for events in stream.take_events(worker.max_chunk_records, within=WITHIN_S):
        fetched: defaultdict[int, list[Fetched]] = defaultdict(list)
        for event in events:
            fetched[event.message.partition].append(_fetched(event.message))
        sent = []
        for partition, records in fetched.items():
            for name, outputs in work.decide(records):
                send = outputs_of[name].send
                for key, value, timestamp, headers, _source in outputs:
                    sent.append(
                        await send(
                            key=key,
                            value=value,
                            partition=partition,
                            timestamp=timestamp / 1000,
                            headers=list(headers),
                        )
                    )
        await asyncio.gather(*sent)


def _fetched(message: faust.types.Message) -> Fetched:
    milliseconds = round(message.timestamp * 1000)
    headers = message.headers or ()
    return Fetched(
        message.topic,
        message.partition,
        message.key,
        message.value,
        milliseconds,
        message.offset,
        headers,
    )


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARNING", quiet=True).execute_from_commandline()
