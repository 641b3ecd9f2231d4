"""When the next rebuild starts, and why."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.settings import SettingsError, load_settings
from trainer.service.schedule import Reason, Rules, Schedule

NOON_S = datetime(2026, 5, 1, 12, 0, tzinfo=UTC).timestamp()
HOUR_S = 3600.0
RULES = Rules("0 4 * * *", 1000, {"deal": 50}, retry_s=900)


def due(schedule: Schedule, now_s: float) -> Reason | None:
    trigger = schedule.due(now_s)
    return None if trigger is None else trigger.reason


def test_nothing_is_due_without_anything_new() -> None:
    """The time of the cron expression passes, and nothing came: no rebuild."""
    schedule = Schedule(RULES, NOON_S)
    assert due(schedule, NOON_S + 40 * HOUR_S) is None
    schedule.observe(1, {})
    assert due(schedule, NOON_S + 40 * HOUR_S) is Reason.SCHEDULE


def test_cron_times_are_utc_and_one_missed_one_counts_once() -> None:
    """04:00 UTC, 16 hours after noon; after three missed days one rebuild starts, then the next."""
    schedule = Schedule(RULES, NOON_S)
    schedule.observe(5, {})
    assert schedule.next_s == NOON_S + 16 * HOUR_S
    assert due(schedule, NOON_S + 16 * HOUR_S - 1) is None
    trigger = schedule.due(NOON_S + 88 * HOUR_S + 1)
    assert trigger is not None
    assert trigger.text == "at 2026-05-02 04:00 UTC (trainer.schedule)"
    schedule.begin(NOON_S + 88 * HOUR_S + 1)
    schedule.observe(5, {})
    assert schedule.next_s == NOON_S + (88 + 24) * HOUR_S
    assert due(schedule, NOON_S + 89 * HOUR_S) is None


def test_enough_examples_or_labels_of_one_task() -> None:
    """The reason names the number and its setting."""
    schedule = Schedule(RULES, NOON_S)
    schedule.observe(999, {"deal": 49, "click": 700})
    assert due(schedule, NOON_S) is None
    schedule.observe(999, {"deal": 50, "click": 700})
    trigger = schedule.due(NOON_S)
    assert trigger is not None
    assert trigger.text == "50 new deal labels (trainer.rebuild_labels.deal)"
    schedule.begin(NOON_S)
    assert schedule.labels == {"deal": 0, "click": 0}
    schedule.observe(1000, {})
    assert due(schedule, NOON_S) is Reason.EXAMPLES


def test_a_failed_rebuild_is_retried_unless_another_begins_before() -> None:
    """Also without anything new; a rebuild that begins for another reason replaces the retry."""
    schedule = Schedule(RULES, NOON_S)
    schedule.begin(NOON_S)
    schedule.end(NOON_S + 60, failed=True)
    assert "is retried in 900 s" in schedule.outlook(NOON_S + 60)
    assert due(schedule, NOON_S + 959) is None
    assert due(schedule, NOON_S + 960) is Reason.RETRY
    schedule.begin(NOON_S + 960)
    schedule.end(NOON_S + 970, failed=False)
    assert due(schedule, NOON_S + 9_000) is None


def test_a_drift_alarm_starts_one_rebuild_per_model() -> None:
    """A candidate that is refused is not built again until the alarm comes back, or a new model."""
    schedule = Schedule(RULES, NOON_S)
    schedule.alarm("v1", "PSI 0.31 of site")
    trigger = schedule.due(NOON_S)
    assert trigger is not None
    assert (trigger.reason, trigger.text) == (
        Reason.DRIFT,
        "PSI 0.31 of site (trainer.drift_alarm)",
    )
    schedule.begin(NOON_S)
    schedule.alarm("v1", "PSI 0.33 of site")
    assert due(schedule, NOON_S) is None
    schedule.alarm("v1", None)
    schedule.alarm("v1", "PSI 0.29 of site")
    assert due(schedule, NOON_S) is Reason.DRIFT
    schedule.begin(NOON_S)
    schedule.alarm("v2", "PSI 0.29 of site")
    assert due(schedule, NOON_S) is Reason.DRIFT


def test_the_outlook_names_every_way() -> None:
    """What is missing by examples and labels, and the next time."""
    schedule = Schedule(RULES, NOON_S)
    assert schedule.outlook(NOON_S) == (
        "the next rebuild starts after 1000 more mature examples, or after 50 more deal labels, "
        "or at 2026-05-02 04:00 UTC if any come"
    )
    schedule.observe(1, {"deal": 3})
    assert "after 47 more deal labels, or at 2026-05-02 04:00 UTC" in schedule.outlook(NOON_S)
    assert "if any come" not in schedule.outlook(NOON_S)


@given(st.lists(st.tuples(st.floats(0, 5_000), st.integers(0, 400), st.integers(0, 30))))
def test_every_rebuild_has_a_reason_that_holds(steps: list[tuple[float, int, int]]) -> None:
    """Whatever comes when: one starts exactly if a count is reached, or a time with anything new.

    The reference recomputes from all that came since the last one, and from the minutes between.
    """
    now_s, began_s = NOON_S, NOON_S
    schedule = Schedule(RULES, NOON_S)
    examples = deals = 0
    for passed_s, new, positive in steps:
        now_s += passed_s
        examples, deals = examples + new, deals + positive
        schedule.observe(examples, {"deal": deals})
        four = (began_s // 86_400) * 86_400 + 4 * HOUR_S
        four += 86_400 if four <= began_s else 0
        expected = (
            deals >= 50 or examples >= 1000 or (now_s >= four and (examples > 0 or deals > 0))
        )
        assert (schedule.due(now_s) is not None) == expected
        if expected:
            schedule.begin(now_s)
            examples = deals = 0
            began_s = now_s


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("0 4 * *", "4 fields"),
        ("0 4 * * * *", "6 fields"),
        ("61 4 * * *", "Bad minute"),
        ("0 4 * * MOO", "Bad day-of-week"),
        ("0 0 31 2 *", "no such day exists|Bad day-of-month"),
    ],
)
def test_a_wrong_expression_is_named(expression: str, fault: str) -> None:
    """Key, what is wrong, and what is right."""
    with pytest.raises(SettingsError, match=rf"trainer\.schedule: .*({fault}).*'0 4 \* \* \*'"):
        load_settings(flags={"trainer.schedule": expression})


def test_labels_of_a_task_that_does_not_exist() -> None:
    """A misspelt task would never start a rebuild."""
    with pytest.raises(SettingsError, match=r"trainer\.rebuild_labels: 'deals' is not a task"):
        load_settings(flags={"trainer.rebuild_labels": {"deals": 5}})
    settings = load_settings(flags={"trainer.schedule": "", "trainer.rebuild_labels": {"deal": 5}})
    assert Schedule(Rules.of(settings.trainer), 0.0).next_s is None
