"""Lets the tests of this folder import `deployment`, which reads the files under test."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from deployment import WeirProcess, weir_processes


@pytest.fixture(params=weir_processes(), ids=lambda process: process.source)
def process(request: pytest.FixtureRequest) -> WeirProcess:
    """Each container that runs `weir`, in turn."""
    found: WeirProcess = request.param
    return found
