"""The follower of a coordinator's slots, on a broker, while the slots come and go."""

import time
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from models.settings import Settings
from stream.control.coordinator import Coordinator
from stream.control.slot_follower import SlotFollower
from stream.kafka.client import client_options
from stream.messages import FleetState, write_summary
from stream.messages.refusals import Refusals
from tests.stream.control.test_coordinator import summary

pytestmark = pytest.mark.broker
DEADLINE_S = 60.0


async def publish(settings: Settings, sequence: int, before: float, owed: float) -> None:
    """One more summary of the only worker, in slot 0."""
    made = replace(summary("a", sequence, owed), owed_before=before)
    key, value = write_summary(made)
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        await producer.send_and_wait(settings.topics.rate_summaries, value, key=key, partition=0)


async def state_through(
    follower: SlotFollower, coordinator: Coordinator, through: int
) -> FleetState:
    """Step until the coordinator publishes a state with the summaries before this offset."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        await follower.step()
        for state in coordinator.states():
            if state.through >= through:
                return state
    raise AssertionError(f"no state through {through} within {DEADLINE_S} s")


async def test_a_slot_that_is_lost_and_taken_over_again_forgets_no_summary(
    settings: Settings,
) -> None:
    """Between two polls: it goes on from its last state, not from what was read after that."""
    coordinator = Coordinator()
    follower = SlotFollower(settings, coordinator, Refusals(CollectorRegistry()))
    try:
        coordinator.coordinate({0}, {}, 1)
        await publish(settings, 1, 0.0, 10.0)
        known = await state_through(follower, coordinator, 1)
        assert known.debt == 10.0
        await publish(settings, 2, 10.0, 25.0)
        assert (await state_through(follower, coordinator, 2)).debt == 25.0
        coordinator.coordinate((), {}, 1)
        coordinator.coordinate({0}, {"*": known}, 1)
        await publish(settings, 3, 25.0, 31.0)
        assert (await state_through(follower, coordinator, 3)).debt == 31.0
    finally:
        await follower.close()
