"""Tests of the embedded broker that also have to pass on Apache Kafka."""

import pytest

from models.settings import Settings
from stream.kafka.reader import read_topic
from stream.kafka.topics import TopicError, ensure_topics
from tests.stream.feedback.test_worker import (  # noqa: F401
    test_no_example_is_lost_by_a_kill,
)
from tests.stream.feedback.test_worker_hostile import (  # noqa: F401
    test_hostile_records_end_nothing_and_hide_nothing,
)
from tests.stream.intercept.test_worker import (  # noqa: F401
    test_fails_open_recovers_and_refuses_bad_artifacts,
    test_filters_without_torch_and_stops_when_asked,
    test_killed_workers_lose_nothing,
    tiny_settings,
)
from tests.stream.intercept.test_worker_elastic import (  # noqa: F401
    same_traffic,
    test_scaling_out_and_in_leaves_no_bump_and_exact_books,
    tiny,
)
from tests.stream.replay.test_replay import (  # noqa: F401
    test_a_topic_is_read_between_two_moments,
    test_file_and_topic_give_the_same_decisions_at_any_chunk_size,
)
from tests.stream.verify.test_verifier import (  # noqa: F401
    test_every_fault_is_counted,
    test_everything_in_its_place_is_exact,
)

pytestmark = pytest.mark.kafka


async def test_topics_are_created_once_and_a_missing_one_is_named(settings: Settings) -> None:
    """Creating topics again changes nothing; reading one that does not exist names it."""
    assert await ensure_topics(settings.kafka, settings.topics) == []
    with pytest.raises(TopicError, match="absent: no such topic"):
        async for _ in read_topic(settings.kafka, "absent"):
            pass
