"""Reads and writes the topic ``control`` from outside the workers, as `weir rate|policy` do."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from models.nested import overlay
from models.settings import EVERYTHING, Settings
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.kafka.topics import TopicError
from stream.messages import (
    FleetState,
    RecordError,
    read_change,
    read_scenario,
    read_state,
    write_change,
)
from stream.policy import Policy, PolicyError
from stream.policy.exploration_price import RewardDistribution

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InForce:
    """The policy that workers with these settings have in force.

    Attributes:
        policy: The policy with all live changes applied.
        revision: Offset of the newest message in force; -1 for none.
    """

    policy: Policy
    revision: int

    def settings(self, scenario: str) -> dict[str, Any]:
        """Settings of one scenario; those of ``*`` if it has no name."""
        found = self.policy.in_force
        return found.get(scenario, found[EVERYTHING]).model_dump()


async def read_control(settings: Settings) -> InForce:
    """Apply all messages on ``control``, as a worker does.

    Raises:
        TopicError: If there is no such topic.
        PolicyError: If the settings themselves are invalid.
    """
    policy = Policy(settings.policy, settings.task_set)
    revision = -1
    async for record in read_topic(settings.kafka, settings.topics.control):
        try:
            policy.apply_change(read_scenario(record.key), read_change(record.value))
        except Exception:  # noqa: BLE001, S112 - workers refuse it too, and log why
            continue
        revision = record.offset
    return InForce(policy, revision)


async def read_rewards(settings: Settings, scenario: str) -> RewardDistribution | None:
    """The rewards of a scenario's requests, from the fleet's latest state.

    Returns:
        None if none has been published, or if the topic cannot be read.
    """
    latest: FleetState | None = None
    try:
        async for record in read_topic(settings.kafka, settings.topics.rate_state):
            try:
                state = read_state(record.key, record.value)
            except RecordError:  # workers refuse it too, and log why
                continue
            if state.scenario == scenario:
                latest = state
    except (TopicError, KafkaError) as error:
        logger.warning("the price of exploring is unknown: %s", error)
        return None
    return RewardDistribution.of(latest)


async def write_control(
    settings: Settings, scenario: str, addition: Mapping[str, Any] | None
) -> int:
    """Publish a scenario's live change with ``addition`` merged into it; None resets the change.

    Returns:
        The revision; workers export it once it is in force.

    Raises:
        TopicError: If there is no such topic.
        PolicyError: If workers with these settings would refuse it; nothing is written then.
    """
    found = await read_control(settings)
    change = None if addition is None else overlay(found.policy.live_change(scenario), addition)
    found.policy.apply_change(scenario, change)
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
    """Key and value of the message, checked by reading them as workers do.

    Raises:
        PolicyError: If workers would refuse them.
    """
    try:
        key, value = scenario.encode(), write_change(change)
        read_scenario(key)
        read_change(value)
    except ValueError as error:
        raise PolicyError(f"scenario {scenario!r}: {error}") from error
    return key, value
