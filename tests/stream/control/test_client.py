"""Reading and writing the topic `control`, from Python and from the command line."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from models.settings import Settings
from stream.cli.main import build_app
from stream.control.client import read_control, read_rewards, write_control
from stream.kafka.client import client_options
from stream.messages import FleetState, write_state
from stream.policy import PolicyError
from tests.stream.control.workers import tiny

__all__ = ["tiny"]

pytestmark = pytest.mark.broker


async def test_the_commands_write_what_they_then_read(tiny: Settings) -> None:
    """Changes add up per scenario, reset takes them back, and what cannot be is not written."""
    await write_control(tiny, "*", {"rate": 0.7, "weights": {"click": 2.0}})
    await write_control(tiny, "new", {"capacity": 50.0})
    revision = await write_control(tiny, "*", {"explore": 0.01})
    found = await read_control(tiny)
    assert found.revision == revision == 2
    everything, new = found.settings("*"), found.settings("new")
    assert (everything["rate"], everything["weights"]["click"], everything["explore"]) == (
        0.7, 2.0, 0.01,
    )  # fmt: skip
    assert (new["capacity"], new["rate"], found.settings("strict")["rate"]) == (50.0, 0.7, 0.9)
    assert found.settings("unheard of") == everything
    with pytest.raises(PolicyError, match=r"weights: 'sale' is not a task"):
        await write_control(tiny, "*", {"weights": {"sale": 1.0}})
    await write_control(tiny, "*", None)
    assert (await read_control(tiny)).settings("*")["rate"] == 0.5


async def test_the_price_of_exploring_comes_from_the_workers_rewards(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Per scenario, from its latest state; garbage on the topic is skipped."""
    for name, value in tiny.environment().items():
        monkeypatch.setenv(name, value)
    rewards_K = np.linspace(0.0, 1.0, 101, dtype=np.float32)
    one_K, none_K = np.ones(1, np.float32), np.zeros(1, np.float32)
    states = [
        FleetState("*", 1, 1, 5.0, 0.0, 0.0, one_K, none_K),
        FleetState("*", 2, 1, 5.0, 0.0, 0.0, rewards_K, rewards_K[::-1]),
        FleetState("strict", 1, 1, 5.0, 0.0, 0.0, one_K, none_K),
    ]
    async with AIOKafkaProducer(**client_options(tiny.kafka)) as producer:
        for key, value in [*map(write_state, states), (b"nonsense", b"{")]:
            await producer.send_and_wait(tiny.topics.rate_state, value, key=key, partition=0)
    await write_control(tiny, "*", {"rate": 0.8, "explore": 0.05})
    rewards = await read_rewards(tiny, "*")
    assert rewards is not None

    def shown(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(build_app(), ["rate", "get", *arguments])
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.output)["exploration"])

    found = await asyncio.to_thread(shown)
    price = rewards.price(0.2, 0.05)
    assert price is not None
    assert found["reward_lost"] == pytest.approx(price.lost, abs=1e-6)
    assert found["reward_lost"] > found["reward_lost_by_explore"]["0.01"] > 0
    flat = await asyncio.to_thread(shown, "--scenario", "strict")
    assert flat["reward_lost"] == 0  # all of its requests are worth the same


async def test_the_command_publishes_nothing_that_workers_would_refuse(tiny: Settings) -> None:
    """Out of bounds, unnamed, too long: the error names bound and value, and the topic is empty."""
    for scenario, change, message in (
        ("*", {"slack": 1e8}, "slack: .* less than or equal to 1000"),
        ("*", {"capacity": float("inf")}, "capacity: .* less than or equal to"),
        ("", {"rate": 0.1}, "1 to 256 characters"),
        ("x" * 300, {"rate": 0.1}, "1 to 256 characters"),
        ("\ud800", {"rate": 0.1}, "surrogates not allowed"),
        ("*", {"rate": [[[1]]]}, "rate: "),
    ):
        with pytest.raises(PolicyError, match=message):
            await write_control(tiny, scenario, change)
    assert (await read_control(tiny)).revision == -1


def test_the_command_line_sets_and_gets(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`weir rate set` and `weir policy set` print the revision that `get` then shows."""
    for name, value in tiny.environment().items():
        monkeypatch.setenv(name, value)

    def weir(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(build_app(), arguments)
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.output))

    assert weir("rate", "set", "0.75")["revision"] == 0
    assert weir("policy", "set", "weights.click=3", "confidence=score")["revision"] == 1
    assert weir("rate", "set", "--capacity", "900", "--scenario", "strict")["revision"] == 2
    shown = weir("rate", "get")
    assert shown.pop("exploration")["reward_lost"] is None  # no worker has published rewards
    assert shown == {
        "revision": 2, "rate": 0.75, "capacity": None, "consumption": None,
    }  # fmt: skip
    assert weir("rate", "get", "--scenario", "strict")["capacity"] == 900
    assert weir("policy", "get")["weights"]["click"] == 3
    assert weir("policy", "set", "--reset")["settings"] is None
    assert weir("rate", "get")["rate"] == 0.5
