from dataclasses import replace
from statistics import NormalDist

import pytest

from stream.report.content import HOLD, SHIP, UNKNOWN, Interval, TaskChange
from stream.report.verdict import judge, widened
from tests.stream.report.reports import refused, task_change

UNCHANGED = task_change("cart", -0.5, 0.0, 0.5)


def verdict(*tasks: TaskChange, base: float = 0.6, arm: float = 0.6) -> tuple[str, str]:
    return judge(tasks, base, arm, arm="b", base="base", level=0.95, margin=1.0)


@pytest.mark.parametrize(
    ("tasks", "expected", "reason"),
    [
        ([task_change("deal", 1, 3, 5), UNCHANGED], SHIP, "b gains deal (+3.0 %"),
        ([task_change("deal", -9, -6, -3), UNCHANGED], HOLD, "b loses deal (\N{MINUS SIGN}6.0 %"),
        ([task_change("deal", -3, 2, 7), UNCHANGED], UNKNOWN, "cannot be ruled out"),
        ([refused("deal"), task_change("click", 1, 3, 5)], UNKNOWN, "cannot say what becomes"),
        ([UNCHANGED], HOLD, "gains nothing that is certain"),
        ([], UNKNOWN, "Replay with --outcomes"),
        # a certain loss counts whatever else is refused or gained
        ([task_change("deal", -9, -6, -3), refused("cart")], HOLD, "b loses deal"),
        # certainly lower, but by less than the margin
        ([task_change("deal", -0.8, -0.5, -0.2)], HOLD, "gains nothing"),
    ],
)
def test_the_verdict_follows_from_the_intervals(
    tasks: list[TaskChange], expected: str, reason: str
) -> None:
    """Ship without a possible loss, hold with a certain one, not enough evidence between them."""
    found, why = verdict(*tasks)
    assert found == expected
    assert reason in why


def test_the_reason_is_two_sentences_at_most() -> None:
    """It is the first thing that is read."""
    for tasks in ([task_change("deal", 1, 3, 5)], [task_change("deal", -3, 2, 7)], [refused("a")]):
        _, why = verdict(*tasks)
        assert why.count(". ") <= 1
        assert why.endswith(".")


def test_less_traffic_is_a_gain() -> None:
    """An arm that loses nothing and passes fewer requests spares bids."""
    assert verdict(UNCHANGED, arm=0.5)[0] == SHIP
    assert verdict(UNCHANGED, arm=0.598)[0] == HOLD


def test_a_gain_by_traffic_alone_is_held() -> None:
    """More requests keep more events with any ranking; at equal r this arm is worse."""
    gain = task_change("deal", 1, 3, 5)
    assert gain.equal_rate is not None
    worse = replace(gain, equal_rate=replace(gain.equal_rate, change=Interval(-2.0, -3.0, -1.0)))
    found, why = verdict(worse, arm=0.7)
    assert found == HOLD
    assert "10.0 points more" in why
    assert "2.0 points of deal" in why
    assert verdict(gain, arm=0.7)[0] == SHIP
    assert verdict(worse, arm=0.6)[0] == SHIP


def test_several_tasks_are_not_several_chances() -> None:
    """One of four tasks just above zero is no gain; alone it is."""
    gain = task_change("deal", 0.1, 2.0, 3.9)
    assert verdict(gain)[0] == SHIP
    others = [task_change(name, -0.5, 0.0, 0.5) for name in ("click", "online", "cart")]
    assert verdict(gain, *others)[0] == HOLD


def test_widened_intervals_are_those_of_the_stricter_level() -> None:
    """Of a normal estimate with standard error 1 for 95 % and five claims: that of 99 %."""
    z = NormalDist().inv_cdf(0.975)
    wide = widened(Interval(1.0, 1.0 - z, 1.0 + z), 0.95, 5)
    assert wide.high - 1.0 == pytest.approx(NormalDist().inv_cdf(0.995))
    assert 1.0 - wide.low == pytest.approx(NormalDist().inv_cdf(0.995))


def test_it_says_how_much_more_log_would_tell() -> None:
    """The width falls with the square root of the number of requests."""
    _, why = verdict(task_change("deal", -3, 2, 7))
    assert "25 times as many" in why
