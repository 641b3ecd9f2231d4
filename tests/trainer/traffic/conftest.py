"""Fixtures of the traffic tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.settings import Settings
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.topics import ensure_topics


@pytest.fixture
async def settings(broker: EmbeddedBroker, unique: Callable[[str], str]) -> Settings:
    """Settings with topics of their own on the embedded broker, already created."""
    found = Settings().override(
        {
            "kafka.bootstrap": broker.bootstrap,
            **{f"topics.{name}": unique(name) for name in Settings().topics.model_dump()},
        }
    )
    await ensure_topics(found.kafka, found.topics)
    return found


@pytest.fixture(scope="session")
def jd_folder() -> Path:
    """The real JD files; tests that need them are skipped where they are not there."""
    default = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("WEIR_SHARED_DATA", default)) / "jd_openmldb"
    if not folder.is_dir():
        pytest.skip("the JD files are not here; set WEIR_SHARED_DATA to the folder of jd_openmldb")
    return folder
