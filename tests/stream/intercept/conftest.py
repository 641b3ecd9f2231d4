"""Settings that the tests of workers and watchers share."""

import pytest

from models.settings import Settings
from tests.tiny_artifact import TASKS


@pytest.fixture
def tiny_settings(settings: Settings) -> Settings:
    """Settings for the tiny artifact's two tasks."""
    tasks = [task.model_dump() for task in TASKS]
    policy = {"rate": 0.5, "weights": {"click": 1.0}, "uncertainty_source": "own"}
    return Settings(**{**settings.model_dump(), "tasks": tasks, "policy": policy})
