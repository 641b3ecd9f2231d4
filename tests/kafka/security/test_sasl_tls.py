"""Workers, topics, verifier and feedback on Apache Kafka with a login and TLS."""

import itertools
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from models.settings import KafkaSettings, Settings, SettingsError
from stream.kafka.topics import ensure_topics
from tests.stream.feedback.test_worker import (  # noqa: F401
    test_no_example_is_lost_by_a_kill,
)
from tests.stream.intercept.test_worker import (  # noqa: F401
    test_filters_without_torch_and_stops_when_asked,
    tiny_settings,
)

pytestmark = pytest.mark.kafka


@dataclass(frozen=True)
class Printed:
    """What the command printed for clients."""

    client: KafkaSettings


@pytest.fixture(scope="module")
def broker(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Printed]:
    """`weir broker --kafka` and the settings that it prints; shadows the fixture in plain text."""
    folder = tmp_path_factory.mktemp("secured")
    kafka_jars.mkdir(parents=True, exist_ok=True)
    (folder / "jars").symlink_to(kafka_jars)
    command = ["broker", "--kafka", "--security", "sasl-tls", "--port", "0", "--folder"]
    with subprocess.Popen(
        [sys.executable, "-m", "stream.cli", *command, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = list(itertools.takewhile(lambda line: "listens on" not in line, process.stdout))
            yield Printed(KafkaSettings(**tomllib.loads("".join(lines))["kafka"]))
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


async def test_a_wrong_password_is_refused(settings: Settings) -> None:
    """No topic is created without the password."""
    wrong = settings.override({"kafka.sasl_password": "guessed"})
    with pytest.raises(KafkaError):
        await ensure_topics(wrong.kafka, wrong.topics)


async def test_another_authority_is_not_trusted(settings: Settings) -> None:
    """Without the cluster's own authority its certificate is rejected."""
    wrong = settings.override({"kafka.ssl_cafile": ""})
    with pytest.raises(KafkaError):
        await ensure_topics(wrong.kafka, wrong.topics)


async def test_an_unreadable_authority_is_named(settings: Settings) -> None:
    """A file that does not exist is named before anything connects."""
    wrong = settings.override({"kafka.ssl_cafile": "absent.pem"})
    with pytest.raises(SettingsError, match=r"kafka\.ssl_cafile: 'absent\.pem'"):
        await ensure_topics(wrong.kafka, wrong.topics)
