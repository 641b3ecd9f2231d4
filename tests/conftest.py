"""Fixtures that all tests share."""

import itertools
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from models.settings import Settings, TopicSettings
from stream.brokers.embedded import EmbeddedBroker
from stream.brokers.kafka_cluster import KafkaCluster
from stream.kafka.topics import ensure_topics

pytest_plugins = ["tests.installed", "tests.tiny_artifact"]

# Processes that test side by side share the cores; torch takes all of them for itself by default.
os.environ["OMP_NUM_THREADS"] = "1"
# Brokers of tests live for minutes: Java's optimising compiler and its parallel collector cost them
# more than they save, some 2.5 s of CPU time for each start of a node.
os.environ["JAVA_TOOL_OPTIONS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# A shell that runs the tests in the background lets them, and so their children, ignore SIGINT.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes depends on the machine and its load, so it has no deadline.
hypothesis.settings.register_profile("weir", deadline=None)
hypothesis.settings.load_profile("weir")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Commands that run in a test's process set up logging, to a stream that the test closes."""
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, sys.excepthook
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook
    logging.captureWarnings(capture=False)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One embedded broker for the whole run; ``broker.bootstrap`` is its address."""
    folder: Path = tmp_path_factory.mktemp("broker")
    with EmbeddedBroker(folder / "broker.log") as running:
        yield running


def connection(broker: EmbeddedBroker | KafkaCluster) -> dict[str, Any]:
    """Dotted settings with which clients reach a broker."""
    client = broker.client.model_dump(exclude_unset=True)
    return {f"kafka.{key}": value for key, value in client.items()}


_numbers = itertools.count()


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Make names that no other test uses: ``unique("in")``."""
    number = next(_numbers)
    test = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]
    return lambda name: f"{name}-{number}-{test}"


@pytest.fixture
async def settings(
    broker: EmbeddedBroker | KafkaCluster, unique: Callable[[str], str], tmp_path: Path
) -> Settings:
    """Settings with topics, group and folders that no other test uses; the topics exist."""
    mine = Settings().override(
        {
            **{f"topics.{field}": unique(field) for field in TopicSettings.model_fields},
            **connection(broker),
            "kafka.group": unique("group"),
            "kafka.session_timeout_s": 6.0,
            "model.registry": str(tmp_path / "registry"),
            "trainer.store": str(tmp_path / "store"),
        }
    )
    await ensure_topics(mine.kafka, mine.topics)
    return mine
