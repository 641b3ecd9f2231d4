"""Observes group and brokers from outside: committed offsets, members, replicas in sync.

Progress is what the group commits. Every query is repeated until a broker answers, because the one
that was asked may just have been killed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.settings import Settings
from stream.kafka.client import client_options

T = TypeVar("T")
POLL_S: Final = 0.1
TRY_S: Final = 5.0
QUERY_S: Final = 60.0


class StalledError(RuntimeError):
    """An expected condition did not come true; the message names it and the current state."""


class Watcher:
    """Polls the group's committed offsets; an async context manager.

    Args:
        settings: Brokers, group and input topic.

    Attributes:
        committed: Committed offset by partition, 0 where there is none yet.
        rewound: Commits of a lower offset than before, which is always a fault.
        longest_s: Longest time in which the group committed nothing.
        longest_partition_s: Longest time in which it committed nothing for some partition.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._options = client_options(settings.kafka)
        self._partitions = [
            TopicPartition(settings.topics.requests, number)
            for number in range(settings.kafka.partitions)
        ]
        self.committed = {tp.partition: 0 for tp in self._partitions}
        self.rewound: list[str] = []
        self.longest_s = 0.0
        self.longest_partition_s = 0.0
        self._moved: dict[int, float] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def progress(self, since: dict[int, int], *, every: bool, within_s: float) -> float:
        """Wait until offsets beyond `since` are committed, for some or for every partition.

        Returns:
            Seconds waited.

        Raises:
            StalledError: If that does not happen within `within_s`; names the partitions.
        """
        quantifier = all if every else any
        return await until(
            lambda: quantifier(self.committed[p] > at for p, at in since.items()),
            lambda: f"progress since {since}; committed is {self.committed}",
            within_s,
        )

    async def drained(self, within_s: float) -> float:
        """Wait until everything on the input topic is committed, then stop watching.

        Raises:
            StalledError: If nothing is committed for `within_s`.
        """
        consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False)
        async with consumer:
            ends = await consumer.end_offsets(self._partitions)
        goal = {tp.partition: end for tp, end in ends.items()}
        start = time.monotonic()
        while any(self.committed[p] < end for p, end in goal.items()):
            try:
                await self.progress(dict(self.committed), every=False, within_s=within_s)
            except StalledError as error:
                raise StalledError(f"the end offsets, {goal}, are not reached: {error}") from error
        self._task.cancel()
        return time.monotonic() - start

    async def members(self) -> int:
        """Number of members of the group; -1 while it rebalances."""

        async def ask(admin: AIOKafkaAdminClient) -> int:
            (answer,) = await admin.describe_consumer_groups([self._settings.kafka.group])
            _, _, state, _, _, members, *_ = answer.groups[0]
            return len(members) if state == "Stable" else -1

        return await self.query(ask)

    async def coordinator(self) -> int:
        """The node that is the group's coordinator."""

        async def ask(admin: AIOKafkaAdminClient) -> int:
            return int(await admin.find_coordinator(self._settings.kafka.group))

        return await self.query(ask)

    async def in_sync(self, within_s: float) -> float:
        """Wait until every replica of every partition is in sync again; returns the seconds.

        Raises:
            StalledError: If that does not happen in time; names the topics.
        """
        behind = ["?"]

        async def ask(admin: AIOKafkaAdminClient) -> list[str]:
            return [
                f"{topic['topic']}[{p['partition']}]"
                for topic in await admin.describe_topics()
                for p in topic["partitions"]
                if len(p["isr"]) < len(p["replicas"])
            ]

        async def complete() -> bool:
            behind[:] = await self.query(ask)
            return not behind

        return await until(complete, lambda: f"replicas in sync: {behind}", within_s)

    async def query(self, question: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        """Query the cluster, again until a broker answers.

        Raises:
            StalledError: If no broker answers for a minute.
        """
        deadline = time.monotonic() + QUERY_S
        while True:
            try:
                return await asyncio.wait_for(self._query_once(question), TRY_S)
            except (KafkaError, OSError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise StalledError(f"no broker answers: {error!r}") from error
            await asyncio.sleep(POLL_S)

    async def _query_once(self, question: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        admin = AIOKafkaAdminClient(**self._options)
        try:
            await admin.start()
            return await question(admin)
        finally:
            await admin.close()

    async def _watch(self) -> None:
        """Poll committed offsets ten times a second, with one client as long as it works."""
        while True:
            try:
                await self._poll_offsets()
            except (KafkaError, OSError, TimeoutError):
                self._note({})
            await asyncio.sleep(POLL_S)

    async def _poll_offsets(self) -> None:
        async def poll(admin: AIOKafkaAdminClient) -> None:
            while True:
                asked = admin.list_consumer_group_offsets(
                    self._settings.kafka.group, partitions=self._partitions
                )
                found = await asyncio.wait_for(asked, TRY_S)
                self._note({tp.partition: at.offset for tp, at in found.items()})
                await asyncio.sleep(POLL_S)

        await self._query_once(poll)

    def _note(self, offsets: dict[int, int]) -> None:
        now = time.monotonic()
        for partition, offset in offsets.items():
            before = self.committed[partition]
            if 0 <= offset < before:
                self.rewound.append(f"[{partition}] from {before} to {offset}")
            if offset > before:
                self._moved[partition] = now
                self.committed[partition] = offset
        if self._moved:
            self.longest_s = max(self.longest_s, now - max(self._moved.values()))
            self.longest_partition_s = max(
                self.longest_partition_s, now - min(self._moved.values())
            )


async def until(
    done: Callable[[], bool | Awaitable[bool]], what: Callable[[], str], within_s: float
) -> float:
    """Wait for a condition; returns the seconds that it took.

    Raises:
        StalledError: If it does not come true within `within_s`; names it.
    """
    start = time.monotonic()
    while True:
        answer = done()
        if answer if isinstance(answer, bool) else await answer:
            return time.monotonic() - start
        if time.monotonic() - start > within_s:
            raise StalledError(f"not within {within_s:g} s: {what()}")
        await asyncio.sleep(POLL_S / 2)
