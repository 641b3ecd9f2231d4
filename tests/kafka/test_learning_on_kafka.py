"""Hostile records for the trainer, and a topic that is created again, on Apache Kafka."""

import pytest

from tests.trainer.service.test_daemon import (  # noqa: F401
    serving,
    settings,
    test_a_topic_made_anew_is_read_from_its_beginning,
    test_hostile_examples_and_announcements_end_nothing,
)

pytestmark = pytest.mark.kafka
