"""Containers that run `weir`, as a fixture."""

import pytest

from tests.deploy.deployment import WeirProcess, weir_processes


@pytest.fixture(params=weir_processes(), ids=lambda process: process.source)
def process(request: pytest.FixtureRequest) -> WeirProcess:
    """Each container that runs `weir`, in turn."""
    found: WeirProcess = request.param
    return found
