"""The committed offsets of a group, and whether a transaction may still change them."""

# ruff: noqa: SLF001

from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, for_code

from stream.transport.output.group_requests import UNSTABLE_OFFSET, OffsetFetchRequest
from stream.transport.output.producer import Producer


class Committed(NamedTuple):
    """Committed offsets.

    Attributes:
        offsets: Offset of each (topic, partition) that has one.
        metadata: The text that was committed with it.
        unstable: Partitions that were left out: a transaction may still change their offset.
    """

    offsets: dict[tuple[str, int], int]
    metadata: dict[tuple[str, int], str]
    unstable: set[tuple[str, int]]


async def committed(
    producer: Producer, group: str, partitions: Iterable[tuple[str, int]], *, stable: bool = True
) -> Committed:
    """Ask the group's coordinator, over a producer's connection.

    Args:
        producer: A producer that is started.
        group: Name of the group.
        partitions: Pairs of topic and partition number.
        stable: Whether to leave out offsets that a transaction may still change.

    Raises:
        KafkaError: If the coordinator does not answer, or refuses the request.
        NotImplementedError: If the broker is older than Kafka 2.5.
    """
    sender: Any = producer._sender
    node = await sender._find_coordinator(CoordinationType.GROUP, group)
    request = OffsetFetchRequest(group, partitions, stable=stable)
    try:
        answer = await producer.client.send(node, request, group=ConnectionGroup.COORDINATION)
        return _read(answer, group)
    except KafkaError:
        sender._coordinator_dead(CoordinationType.GROUP)  # it is looked up again
        raise


def _read(answer: Any, group: str) -> Committed:
    found = Committed({}, {}, set())
    _check(answer.error_code, group)
    for topic, partitions, _ in answer.topics:
        for number, offset, _epoch, text, code, _ in partitions:
            if code == UNSTABLE_OFFSET:
                found.unstable.add((topic, number))
                continue
            _check(code, group)
            if offset >= 0:
                found.offsets[topic, number] = offset
                found.metadata[topic, number] = text or ""
    return found


def _check(code: int, group: str) -> None:
    if code:
        raise for_code(code)(group)
