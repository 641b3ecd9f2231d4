import logging
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from stream.messages.refusals import LINES_PER_MINUTE, LONGEST_REASON, Refusals


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Refusing:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.clock = Clock()
        self.refusals = Refusals(self.registry, self.clock)

    def counted(self, topic: str) -> float | None:
        return self.registry.get_sample_value("weir_refused_messages_total", {"topic": topic})


@pytest.fixture
def refusing() -> Refusing:
    return Refusing()


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("x"), RecursionError("deep")])
def test_whatever_one_message_raises_is_its_refusal(
    refusing: Refusing, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The guard swallows any exception, counts it, and logs the message's coordinates."""
    with refusing.refusals.guard(Record("control", 0, 17), "the old policy stays"):
        raise error
    assert refusing.counted("control") == 1
    (line,) = caplog.messages
    assert line.startswith("control[0]@17: the old policy stays: ")
    assert str(error) in line


def test_the_end_of_a_process_is_no_refusal(refusing: Refusing) -> None:
    """Only exceptions of a message are caught, not those that end a process."""
    with pytest.raises(KeyboardInterrupt), refusing.refusals.guard(Record("control", 0, 17)):
        raise KeyboardInterrupt
    assert refusing.counted("control") is None


def test_a_flood_of_refusals_is_counted_whole_and_logged_in_part(
    refusing: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    """Each topic has so many lines a minute; the next minute says what was left out."""
    for offset in range(1000):
        refusing.refusals.refuse("outcomes", 0, offset, "bad")
    refusing.refusals.refuse("models", 0, 1, "bad")
    assert len(caplog.messages) == LINES_PER_MINUTE + 1
    refusing.clock.now_s = 61.0
    refusing.refusals.refuse("outcomes", 0, 1000, "bad")
    assert caplog.messages[-2] == (
        f"outcomes: {1000 - LINES_PER_MINUTE} more messages were refused in the last 61 s"
    )
    assert refusing.counted("outcomes") == 1001


def test_a_reason_is_bounded(refusing: Refusing, caplog: pytest.LogCaptureFixture) -> None:
    """A message cannot write a megabyte to the log."""
    with caplog.at_level(logging.ERROR):
        refusing.refusals.refuse("models", 0, 1, "x" * 1_000_000)
    assert len(caplog.messages[0]) < LONGEST_REASON + 100
