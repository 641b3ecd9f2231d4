"""Fixtures that all tests share."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream.broker import EmbeddedBroker

# Modules that several tests of a folder share are imported by their own name.
sys.path.insert(0, str(Path(__file__).parent / "transport"))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One embedded broker for the whole run; ``broker.bootstrap`` is its address."""
    folder: Path = tmp_path_factory.mktemp("broker")
    with EmbeddedBroker(folder / "broker.log") as running:
        yield running


_numbers = itertools.count()


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Make names that no other test uses: ``unique("in")``."""
    number = next(_numbers)
    test = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]
    return lambda name: f"{name}-{number}-{test}"
