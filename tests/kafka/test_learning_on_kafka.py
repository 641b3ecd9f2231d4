"""Hostile records for feedback and trainer, and a topic that is created again, on Apache Kafka."""

import pytest

from tests.stream.feedback.test_worker_hostile import (  # noqa: F401
    test_hostile_records_end_nothing_and_hide_nothing,
)
from tests.trainer.pipeline.test_daemon import (  # noqa: F401
    serving,
    settings,
    test_a_topic_made_anew_is_read_from_its_beginning,
    test_hostile_examples_and_announcements_end_nothing,
)

pytestmark = pytest.mark.kafka
