"""Journals of a fleet on Apache Kafka: at least once, and exactly once."""

import pytest

from models.settings import Settings
from tests.stream.reproduce.test_missing import (  # noqa: F401
    test_a_killed_worker_leaves_what_it_wrote,
)
from tests.stream.reproduce.test_reproduce import (  # noqa: F401
    test_two_workers_through_a_change_a_swap_a_canary_and_rebalances,
)

pytestmark = pytest.mark.kafka


@pytest.fixture(params=["at-least-once", "exactly-once"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Settings of each delivery guarantee."""
    return settings.override({"worker.guarantee": request.param})
