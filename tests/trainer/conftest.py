"""Fixtures of the simulation and traffic tests."""

import pytest

from trainer.simulation.simulator import Simulator
from trainer.simulation.traffic import Traffic


@pytest.fixture(scope="session")
def simulator() -> Simulator:
    """A simulator whose days are 20,000 requests long."""
    return Simulator(seed=7, requests_per_day=20_000)


@pytest.fixture(scope="session")
def traffic(simulator: Simulator) -> Traffic:
    """Two simulated days."""
    return simulator.batch(0, 40_000)
