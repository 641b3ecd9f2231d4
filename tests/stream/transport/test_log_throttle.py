"""A repeated warning is logged once a minute, with the number of those suppressed."""

import logging

import pytest

from stream.transport.log_throttle import INTERVAL_S, RepeatFilter, throttle_client_logs


def test_repetitions_are_counted_not_logged() -> None:
    """Repetitions have the same format string; INFO is never suppressed."""
    now_s = 0.0
    lines = RepeatFilter(lambda: now_s)

    def shown(level: int, message: str, *args: object) -> str | None:
        record = logging.LogRecord("aiokafka", level, "", 0, message, args, None)
        return record.getMessage() if lines.filter(record) else None

    warn = logging.WARNING
    assert shown(warn, "no leader for %s", "a") == "no leader for a"
    assert [shown(warn, "no leader for %s", "b") for _ in range(5)] == [None] * 5
    assert shown(warn, "another") == "another"
    assert shown(logging.INFO, "no leader for %s", "c") == "no leader for c"
    now_s = INTERVAL_S
    assert shown(warn, "no leader for %s", "d") == "no leader for d (and 5 more like it)"
    assert shown(warn, "no leader for %s", "e") is None


def test_the_clients_own_lines_are_filtered_too(caplog: pytest.LogCaptureFixture) -> None:
    """Aiokafka's client logs to the package's logger: 150 lines a second without brokers."""
    throttle_client_logs()
    before = len(caplog.records)
    for node in range(100):
        logging.getLogger("aiokafka").error("Unable connect to the node %d of this test", node)
    assert len(caplog.records) - before == 1
