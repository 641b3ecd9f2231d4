"""Log lines about the join's memory."""

import pytest

from models.features import FeatureSpec
from models.settings import FeedbackSettings
from stream.feedback.join import FeedbackJoin
from stream.feedback.memory import MemoryReport
from stream.feedback.table import JoinState
from tests.stream.feedback.test_join import LATENESS_S, START, TASKS, pending


def test_the_capacity_is_logged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """It logs how many requests fit, their size, and the rate that this sustains."""
    caplog.set_level("INFO")
    settings = FeedbackSettings(max_memory_bytes=64_000_000, lateness_s=0)
    report = MemoryReport(settings, TASKS, FeatureSpec.load("openrtb"))
    report.log_capacity()
    assert report.capacity == pytest.approx(64_000_000 * 7 / 8 / 623, abs=1)
    assert f"memory for {report.capacity} pending requests of 623 bytes" in caplog.text
    assert f"so {report.capacity / 100:.1f} requests/s fit" in caplog.text


def test_a_nearly_full_memory_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A warning at 80 %, a line for every change of the share, and nothing per chunk."""
    settings = FeedbackSettings(max_memory_bytes=4_194_304)
    report = MemoryReport(settings, TASKS, FeatureSpec.load("openrtb"))
    join = FeedbackJoin(TASKS, 10.0, LATENESS_S, JoinState(), 200_000)
    report.recovered(0, join)
    shares = set()
    for number in range(20_000):
        now = START + number * 5
        join.add_request(b"r%d" % number, pending(now, number), now)
        if number % 50 == 0:
            join.emit()
            shares.add(join.sampler.share)
            report.check(0, join)
    assert join.counts.overflown_requests == 0
    assert len(shares) > 1
    assert caplog.text.count("raise feedback.max_memory_bytes") <= 2
    assert "raise feedback.max_memory_bytes" in caplog.text
    assert f"samples {min(shares):g} of new requests" in caplog.text
    assert len(caplog.records) < 200


def test_requests_of_other_tasks_are_an_error_at_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The error has their number and the remedy."""
    state = JoinState()
    FeedbackJoin(TASKS, 10.0, LATENESS_S, state).add_request(b"a", pending(START), START)
    other = FeedbackJoin(type(TASKS)(list(TASKS)[:1]), 10.0, LATENESS_S, state)
    report = MemoryReport(FeedbackSettings(), TASKS, FeatureSpec.load("openrtb"))
    report.recovered(3, other)
    assert "partition 3 of the join: 1 pending requests were stored for other tasks" in caplog.text
