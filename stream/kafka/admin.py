"""Administrative requests to the brokers, retried while their failure is transient.

aiokafka's admin client sends a request to a random node, and does not try another one when that
node is down. All requests about topics, groups and offsets go through :class:`Admin`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

T = TypeVar("T")
Call = Callable[[AIOKafkaAdminClient], Awaitable[T]]

#: Between two tries. Together they outlast the failover of a node, and the election of a
#: coordinator for the first group of a new cluster.
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)


class Admin:
    """A connected admin client; an async context manager.

    Args:
        options: Options of an aiokafka client, see :func:`stream.kafka.client.client_options`.

    Attributes:
        client: aiokafka's admin client, for requests that must not be repeated.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.client = AIOKafkaAdminClient(**options)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            KafkaError: If no broker answers.
        """
        try:
            await self.client.start()
        except BaseException:
            await self.client.close()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Disconnect."""
        await self.client.close()

    async def request(self, call: Call[T]) -> T:
        """Send a request, again while it fails with an error that Kafka calls retriable.

        Args:
            call: Sends the request; may be called several times.

        Raises:
            KafkaError: If the error is not retriable, or the last try fails too.
        """
        for pause_s in PAUSES_S:
            try:
                return await call(self.client)
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(pause_s)
        return await call(self.client)

    async def partitions(self) -> dict[str, list[dict[str, Any]]]:
        """The partitions of every topic that exists, as aiokafka describes them, by topic.

        Raises:
            KafkaError: If no broker answers.
        """
        # Of all topics: the brokers may create a topic that is asked for by name.
        described = await self.request(AIOKafkaAdminClient.describe_topics)
        return {each["topic"]: each["partitions"] for each in described if not each["error_code"]}

    async def committed_offsets(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """The offsets that a group has committed; partitions without one are left out.

        Raises:
            KafkaError: If no broker answers, or the client may not read them.
        """

        async def call(client: AIOKafkaAdminClient) -> Any:
            return await client.list_consumer_group_offsets(group, partitions=list(partitions))

        found = await self.request(call)
        return {tp: at.offset for tp, at in found.items() if at.offset >= 0}


async def admin_request(options: Mapping[str, Any], call: Call[T]) -> T:
    """One :meth:`Admin.request` on a connection of its own.

    Raises:
        KafkaError: If no broker answers, or the request fails for good.
    """
    async with Admin(options) as admin:
        return await admin.request(call)
