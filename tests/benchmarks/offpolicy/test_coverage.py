"""The coverage study: on a world of its own, small enough for a test, its figures are in range."""

import numpy as np
import pytest

from benchmarks.offpolicy.__main__ import TEXTBOOK, judge_world, report
from benchmarks.offpolicy.worlds import World


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    """Pairs of one world that no method was tuned on."""
    return list(judge_world(seed=7, requests=6000, pairs=12))


def test_intervals_cover_the_truth_and_are_narrower_than_the_textbook(
    rows: list[dict[str, object]],
) -> None:
    """Of the 48 figures of a world, few are missed; the study itself counts 1,200."""
    found = report(rows)
    assert found["asked"] == 48
    methods = found["methods"]
    assert methods["dr"]["estimates"] == found["asked"] - found["refused"] >= 8
    assert methods["dr"]["coverage"] >= 0.85
    assert methods["dr"]["width to snips"] < 1 == methods["snips"]["width to snips"]
    assert methods[TEXTBOOK]["coverage"] < methods["dr"]["coverage"]


def test_a_world_draws_events_with_their_probabilities() -> None:
    """And an event of a population only where the population's own happened."""
    world = World.simulated(3, 5000)
    events_NT = np.mean([world.events(np.random.default_rng(seed)) for seed in range(20)], axis=0)
    assert events_NT.mean(axis=0) == pytest.approx(world.on_all_NT.mean(axis=0), rel=0.1)
    once_NT = world.events(np.random.default_rng(0))
    click, online = (world.tasks.index(name) for name in ("click", "online"))
    assert not (once_NT[:, online] & ~once_NT[:, click]).any()
