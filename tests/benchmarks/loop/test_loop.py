"""The benchmark of the closed loop: its figures add up."""

import time
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from benchmarks.loop.__main__ import ARMS
from benchmarks.loop.arm import Arm, Market, Played, arm_settings, read_verdicts
from benchmarks.loop.reward import BLOCKS, Comparison, best, compare, first_rewards, paired_gain
from models.settings import Settings
from stream.kafka.client import client_options
from stream.messages import Decision, Reason, sequence_header
from trainer.simulation.simulator import Simulator

SMALL = Market(
    requests_per_second=400,
    rebuilds=1,
    drift=0.4,
    start=200_000,
    rebuild_examples=1_500,
    settle=200,
    evaluated=2_000,
)


def played(passed: dict[int, bool], folder: Path) -> Played:
    settings = arm_settings(Arm("defaults", {}), SMALL, folder)
    return Played(settings, {"published": 1}, ("first", "second"), passed, 1.0)


async def compared(passed_N: np.ndarray, folder: Path) -> Comparison:
    numbers = range(SMALL.start + 100, SMALL.start + 100 + len(passed_N))
    return await compare(played(dict(zip(numbers, passed_N, strict=True)), folder), SMALL)


def test_the_best_are_the_highest_and_of_equal_ones_the_first() -> None:
    assert best(np.array([1.0, 3.0, 3.0, 2.0, 3.0]), 2).tolist() == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_the_gain_is_relative_and_its_interval_holds() -> None:
    """In 95 % of the samples the interval contains the true gain: 0.1 of 0.5."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        loop_N, frozen_N = rng.random(6_000) < 0.55, rng.random(6_000) < 0.5
        found = paired_gain(np.ones(6_000), loop_N, frozen_N)
        assert found.mean == pytest.approx(loop_N.mean() / frozen_N.mean() - 1)
        assert len(found.values) == BLOCKS
        held.append(abs(found.mean - 0.1) <= found.half)
    assert 0.91 <= np.mean(held) <= 0.985


async def test_a_loop_that_decides_as_the_first_model_gains_nothing(tmp_path: Path) -> None:
    simulator = Simulator(SMALL.seed, SMALL.drift)
    first, count = SMALL.start + 100, 3_000
    rewards = await first_rewards(played({}, tmp_path), simulator, first, count)
    rewards_N = np.array([rewards[name] for name in simulator.batch(first, count).ids])

    same = await compared(best(rewards_N, 1_200), tmp_path)

    assert same.gain == same.half == 0
    assert not same.shown
    assert same.loop == same.frozen < same.oracle
    assert same.passed == pytest.approx(0.4)
    assert same.rebuilds == {"published": 1}


async def test_a_loop_that_knows_the_truth_gains_all_and_one_that_draws_lots_loses(
    tmp_path: Path,
) -> None:
    value_N = Simulator(SMALL.seed, SMALL.drift).batch(SMALL.start + 100, 3_000).p_true[:, -1]
    knows = await compared(best(value_N, 1_200), tmp_path)
    lots = await compared(np.random.default_rng(0).random(3_000) < 0.4, tmp_path)

    assert knows.shown
    assert knows.frozen < knows.loop < knows.oracle
    assert lots.gain < -lots.half
    assert not lots.shown


def test_arms_differ_in_exploration_and_weighting_only(tmp_path: Path) -> None:
    found = {name: arm_settings(arm, SMALL, tmp_path) for name, arm in ARMS.items()}
    explored = {name: each.policy.explore for name, each in found.items()}
    weighted = {name: each.training.get("propensity_clip") for name, each in found.items()}
    assert explored == {"both": 0.01, "explore": 0.01, "neither": 0.0}
    assert weighted == {"both": None, "explore": 1.0, "neither": None}


@pytest.mark.broker
async def test_verdicts_are_those_of_one_version_by_number(settings: Settings) -> None:
    now = round(time.time() * 1000)
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        for number, (model, topic) in enumerate(
            [
                ("old", settings.topics.passed),
                ("new", settings.topics.passed),
                ("new", settings.topics.blocked),
                ("old", settings.topics.blocked),
            ]
        ):
            header = Decision(model, 0.5, 0.5, Reason.SCORE, 1.0, number).to_header()
            headers = [header, sequence_header(number)]
            await producer.send_and_wait(topic, b"{}", timestamp_ms=now, headers=headers)

    assert await read_verdicts(settings, "new", 70, now - 1000) == {71: True, 72: False}
