"""Reads and writes the topic ``control`` from outside the workers, as `weir rate|policy` do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from models.nested import overlay
from models.settings import EVERYTHING, Settings
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.messages import read_change, read_scenario, write_change
from stream.policy import Policy, PolicyError


@dataclass(frozen=True)
class InForce:
    """What workers with these settings have in force.

    Attributes:
        policy: With everything applied that was said live.
        revision: Offset of the newest message in force; -1 for none.
    """

    policy: Policy
    revision: int

    def settings(self, scenario: str) -> dict[str, Any]:
        """Settings of one scenario; those of ``*`` where it has no name."""
        found = self.policy.in_force
        return found.get(scenario, found[EVERYTHING]).model_dump()


async def read_control(settings: Settings) -> InForce:
    """Read everything said so far, as a worker does.

    Raises:
        TopicError: If there is no such topic.
        PolicyError: If the settings themselves cannot be used.
    """
    policy = Policy(settings.policy, settings.task_set)
    revision = -1
    async for record in read_topic(settings.kafka, settings.topics.control):
        try:
            policy.steer(read_scenario(record.key), read_change(record.value))
        except Exception:  # noqa: BLE001, S112 - whatever it is, workers refuse it too, and say so
            continue
        revision = record.offset
    return InForce(policy, revision)


async def write_control(
    settings: Settings, scenario: str, addition: Mapping[str, Any] | None
) -> int:
    """Lay ``addition`` over what was said live of a scenario, and say that; None takes it all back.

    Returns:
        The revision: workers show it once it is in force.

    Raises:
        TopicError: If there is no such topic.
        PolicyError: If workers with these settings would refuse it; nothing is written then.
    """
    found = await read_control(settings)
    change = None if addition is None else overlay(found.policy.live(scenario), addition)
    found.policy.steer(scenario, change)
    key, value = _message(scenario, change)
    producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
    async with producer:
        sent = await producer.send_and_wait(
            settings.topics.control,
            value,
            key=key,
            partition=0,
        )
    return int(sent.offset)


def _message(scenario: str, change: Mapping[str, Any] | None) -> tuple[bytes, bytes | None]:
    """Key and value, as workers would read them.

    Raises:
        PolicyError: If they would not.
    """
    try:
        key, value = scenario.encode(), write_change(change)
        read_scenario(key)
        read_change(value)
    except ValueError as error:
        raise PolicyError(f"scenario {scenario!r}: {error}") from error
    return key, value
