"""Labels: null where nobody can know, and every outcome is accounted for."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tasks import Task, TaskSet
from stream.offpolicy.errors import OffPolicyError
from stream.offpolicy.labels import Labeller, latest_moment
from stream.offpolicy.outcomes import outcome_frame, read_outcomes

T0 = 1_700_000_000_000
TASKS = TaskSet(
    [Task(name="click", window_s=20), Task(name="online", population="click", window_s=10)]
)


def requests(*rows: tuple[str, int, str | None]) -> pl.DataFrame:
    """Requests of (id, seconds after T0, logged verdict)."""
    return pl.DataFrame(
        [(name, T0 + 1000 * second, verdict) for name, second, verdict in rows],
        schema={"request_id": pl.String, "timestamp": pl.Int64, "logged_verdict": pl.String},
        orient="row",
    )


def test_a_label_is_null_unless_the_request_passed_and_its_windows_are_closed() -> None:
    """Blocked, unlogged and open requests are unknown, whatever outcomes say about them."""
    frame = requests(
        ("clicked", 0, "pass"),
        ("silent", 0, "pass"),
        ("blocked", 0, "block"),
        ("unlogged", 0, None),
        ("open", 11, "pass"),
        ("late", 0, "pass"),
    )
    rows = [(name, "click", T0 + 12_000) for name in frame["request_id"] if name != "silent"]
    rows = [row for row in rows if row[0] != "late"] + [("late", "click", T0 + 20_001)]
    labeller = Labeller(outcome_frame(rows), TASKS, T0 + 30_000)
    found = labeller.label(frame)
    assert found["label_click"].to_list() == [True, False, None, None, None, False]
    assert found["delay_click"].to_list() == [12_000, None, None, None, None, None]
    assert labeller.counts().as_dict() == {
        "outcomes": 5,
        "unknown_task": 0,
        "unknown_request": 0,
        "unlogged": 1,
        "blocked": 1,
        "before": 0,
        "late": 1,
        "open": 1,
        "used": 1,
    }


def test_a_task_within_another_waits_for_both_windows_and_needs_both_events() -> None:
    """`online` has the shorter window, but is unknown until `click` is known."""
    frame = requests(("a", 0, "pass"), ("b", 0, "pass"), ("c", 15, "pass"))
    rows = [("a", "click", T0 + 1), ("a", "online", T0 + 2), ("b", "online", T0 + 2)]
    found = Labeller(outcome_frame(rows), TASKS, T0 + 30_000).label(frame)
    assert found["label_online"].to_list() == [True, False, None]


def test_outcomes_of_unknown_requests_and_tasks_are_counted() -> None:
    """Over all parts, so that an outcome of the second part is no stranger to the first."""
    rows = [("a", "click", T0), ("b", "click", T0 - 1), ("x", "click", T0), ("a", "sale", T0)]
    labeller = Labeller(outcome_frame(rows), TASKS, T0 + 60_000)
    labeller.label(requests(("a", 0, "pass")))
    labeller.label(requests(("b", 0, "pass")))
    counts = labeller.counts()
    assert (counts.unknown_request, counts.unknown_task, counts.before, counts.used) == (1, 1, 1, 1)


def test_hostile_times_decide_nothing() -> None:
    """Timestamps at the ends of 64 bits neither overflow nor close a window."""
    frame = requests(("a", 0, "pass"), ("b", 0, "pass")).with_columns(
        timestamp=pl.Series([2**63 - 1, -(2**63)])
    )
    rows = [("a", "click", T0), ("b", "click", T0)]
    found = Labeller(outcome_frame(rows), TASKS, T0).label(frame)
    assert found["label_click"].to_list() == [None, False]
    assert latest_moment(frame, outcome_frame(rows), now_ms=T0 + 1) == T0


def test_a_malformed_outcome_is_rejected_with_its_place() -> None:
    """And the others are read; the first outcome of a request and task counts."""
    rejected = []
    good = b'{"request_id":"a","task":"click","ts":%d}'
    found = read_outcomes(
        [("f:1", good % 9), ("f:2", b'{"task":"click","ts":1}'), ("f:3", good % 7)],
        lambda place, why: rejected.append((place, why)),
    )
    assert found.rows() == [("a", "click", 7)]
    assert [place for place, _ in rejected] == ["f:2"]
    assert "request_id" in rejected[0][1]


def test_a_missing_column_is_named() -> None:
    """With the frame."""
    with pytest.raises(OffPolicyError, match="requests: the column 'logged_verdict'"):
        Labeller(outcome_frame([]), TASKS, T0).label(requests().drop("logged_verdict"))


VERDICTS = st.sampled_from(["pass", "block", None])


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 60), VERDICTS), max_size=12),
    events=st.lists(
        st.tuples(
            st.integers(0, 14), st.sampled_from(["click", "online", "?"]), st.integers(-5, 70)
        ),
        max_size=20,
    ),
    as_of=st.integers(0, 90),
    cut=st.integers(0, 12),
)
def test_labels_agree_with_their_definition(
    rows: list[tuple[int, str | None]],
    events: list[tuple[int, str, int]],
    as_of: int,
    cut: int,
) -> None:
    """However the requests are cut into parts; and every outcome is counted once."""
    frame = requests(*((f"r{i}", second, verdict) for i, (second, verdict) in enumerate(rows)))
    outcomes = outcome_frame([(f"r{i}", task, T0 + 1000 * at) for i, task, at in events])
    labeller = Labeller(outcomes, TASKS, T0 + 1000 * as_of)
    found = pl.concat([labeller.label(frame[:cut]), labeller.label(frame[cut:])])
    first = {(name, task): ts for name, task, ts in outcomes.rows()}
    for name, ts, verdict in frame.rows():

        def happens(task: str, name: str = name, ts: int = ts) -> bool:
            window = 1000 * TASKS[task].window_s
            return 0 <= first.get((name, task), -1) - ts <= window

        known = verdict == "pass" and ts + 20_000 <= T0 + 1000 * as_of
        row = found.row(by_predicate=pl.col("request_id") == name, named=True)
        assert row["label_click"] == (happens("click") if known else None)
        both = happens("click") and happens("online")
        assert row["label_online"] == (both if known else None)
    counts = labeller.counts().as_dict()
    total = counts.pop("outcomes")
    assert total == outcomes.height == sum(counts.values())
