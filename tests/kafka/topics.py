"""Records, administration and waiting that the tests of topics on Apache Kafka share."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from models.settings import Settings
from stream.brokers.children import ChildProcess
from stream.kafka.client import client_options
from stream.transport import (
    ChunkSink,
    Outgoing,
)
from stream.verify.account import Account
from stream.verify.verifier import account, committed_offsets

DEADLINE_S = 90.0


def rows(first: int, count: int, at_ms: int | None = None) -> list[Outgoing]:
    now_ms = int(time.time() * 1000) if at_ms is None else at_ms
    return [
        Outgoing(b"k", b'{"id":"r%d","imp":[{}]}' % i, now_ms + i - first)
        for i in range(first, first + count)
    ]


async def send(settings: Settings, records: Sequence[Outgoing], partition: int = 0) -> None:
    async with ChunkSink(client_options(settings.kafka)) as sink:
        await sink.send(settings.topics.requests, partition, records)


@asynccontextmanager
async def administer(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def alter(settings: Settings, topic: str, **configuration: str) -> None:
    named = {key.replace("_", "."): value for key, value in configuration.items()}
    async with administer(settings) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=named)
        for answer in await admin.alter_configs([resource]):
            assert all(code == 0 for code, *_ in answer.resources), answer


async def until(done: Callable[[], Awaitable[bool]], child: ChildProcess | None = None) -> None:
    """Wait for a condition; on a timeout the error has the child's log, if there is one."""
    deadline = time.monotonic() + DEADLINE_S
    while not await done():
        if child is not None:
            child.check()
        if time.monotonic() > deadline:
            raise AssertionError(child.log.read_text()[-8000:] if child else "not in time")
        await asyncio.sleep(0.2)


async def exact(settings: Settings, child: ChildProcess) -> Account:
    found = Account()

    async def done() -> bool:
        nonlocal found
        found = await account(settings)
        return found.exact

    try:
        await until(done, child)
    except AssertionError as error:
        raise AssertionError(f"{found.summary()} {found.faults}\n{error}") from error
    return found


async def logged(child: ChildProcess, pattern: str) -> None:
    async def done() -> bool:
        return re.search(pattern, child.log.read_text()) is not None

    await until(done, child)


async def metric(port: int, name: str, label: str = "") -> float:
    """Sum of the samples of a metric that have this label value."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    lines = [x for x in text.splitlines() if re.match(rf"{name}(\{{|\s)", x)]
    return sum(float(line.split()[-1]) for line in lines if label in line)


async def shown(port: int, name: str, value: float) -> bool:
    return await metric(port, name) == value


async def committed(settings: Settings, partition: int = 0) -> int | None:
    tp = TopicPartition(settings.topics.requests, partition)
    return (await committed_offsets(settings, [tp])).get(partition)


async def filtered_up_to(settings: Settings, child: ChildProcess, end: int) -> None:
    async def done() -> bool:
        return await committed(settings) == end

    await until(done, child)


async def commit(settings: Settings, offset: int) -> None:
    consumer = AIOKafkaConsumer(
        **client_options(settings.kafka), group_id=settings.kafka.group, enable_auto_commit=False
    )
    async with consumer:
        tp = TopicPartition(settings.topics.requests, 0)
        consumer.assign([tp])
        await consumer.commit({tp: offset})


async def transact(
    settings: Settings, records: Sequence[Outgoing], *, commit: bool, topic: str = ""
) -> None:
    producer = AIOKafkaProducer(**client_options(settings.kafka), transactional_id="upstream")
    async with producer:
        await producer.begin_transaction()
        for record in records:
            await producer.send_and_wait(
                topic or settings.topics.requests,
                record.value,
                record.key,
                0,
                record.timestamp,
                list(record.headers),
            )
        await (producer.commit_transaction if commit else producer.abort_transaction)()
