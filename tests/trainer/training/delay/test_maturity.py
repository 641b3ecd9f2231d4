import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.examples import FINAL_MS, Examples
from trainer.training.delay.maturity import (
    CLOSED,
    FINAL,
    OPEN,
    closing_ages,
    final_labels,
    held_out_rows,
    is_aged,
    seen_events,
    usable,
)

NAN = np.nan


def examples(elapsed: list[int], labels: list[list[float]], delays: list[list[float]]) -> Examples:
    return Examples(
        ts_N=-np.array(elapsed),
        features_NC=np.zeros((len(elapsed), 1), np.int32),
        labels_NT=np.array(labels, np.float32),
        propensity_N=np.ones(len(elapsed)),
        elapsed_N=np.array(elapsed),
        delay_NT=np.array(delays),
    )


STORE = examples(
    # Windows of 10 and 100; the newest last. Row 3 has both events early, row 4 none yet.
    [500, 120, 60, 50, 40, 5, 4],
    [[0, 0], [1, 1], [0, NAN], [1, 1], [0, NAN], [NAN, NAN], [1, NAN]],
    [[NAN, NAN], [3, 90], [NAN, NAN], [2, 20], [NAN, NAN], [NAN, NAN], [6, NAN]],
)


def test_labels_are_final_by_age_and_not_because_an_event_was_seen() -> None:
    closing_T = closing_ages(STORE)

    assert closing_T.tolist() == [40, 500]
    aged_NT = is_aged(STORE.elapsed, closing_T)
    assert aged_NT[:, 0].tolist() == [True] * 5 + [False] * 2
    assert aged_NT[:, 1].tolist() == [True] + [False] * 6
    labels_NT = final_labels(STORE, closing_T)
    np.testing.assert_array_equal(labels_NT[:, 0], [0, 1, 0, 1, 0, NAN, NAN])
    np.testing.assert_array_equal(labels_NT[:, 1], [0] + [NAN] * 6)


def test_an_event_is_seen_from_its_delay_on() -> None:
    seen_NT = seen_events(STORE, closing_ages(STORE))

    # The event of the last row is ahead of the row's age: the store was read too far.
    np.testing.assert_array_equal(seen_NT[:, 0], [0, 1, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(seen_NT[:, 1], [0, 1, 0, 1, 0, 0, 0])


def test_a_masked_label_of_an_old_row_stays_masked() -> None:
    store = examples([50, 50], [[0, 0], [NAN, 1]], [[NAN, NAN], [NAN, 4]])

    np.testing.assert_array_equal(seen_events(store, closing_ages(store))[1], [NAN, 1])


@pytest.mark.parametrize(
    ("uses", "rows"), [(FINAL, [0]), (CLOSED, [0, 1, 2, 3, 4]), (OPEN, [0, 1, 2, 3, 4, 5, 6])]
)
def test_the_rows_that_are_learned_from(uses: str, rows: list[int]) -> None:
    aged_NT = is_aged(STORE.elapsed, closing_ages(STORE))

    used_N = usable(~np.isnan(STORE.labels_NT), aged_NT, uses)  # type: ignore[arg-type]

    assert np.flatnonzero(used_N).tolist() == rows


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=60),
    st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 400)),
    st.floats(0, 1),
)
def test_every_task_has_its_newest_final_rows_held_out(
    ages: list[int], closing: tuple[int, int, int], share: float
) -> None:
    age_N, closing_T = np.array(ages), np.array(closing)
    known_NT = np.ones((len(ages), 3), np.bool_)

    held_K = held_out_rows(-age_N, known_NT, age_N, closing_T, share)

    held_N = np.isin(np.arange(len(ages)), held_K)
    assert (np.diff(-age_N[held_K]) >= 0).all()
    for close in closing:
        final_N = age_N >= close
        assert (held_N & final_N).sum() >= round(share * int(final_N.sum()))
    fastest = age_N >= closing_T.min()
    assert not (held_N & ~fastest).any()
    slowest_N = age_N >= closing_T.max()
    # Of the slowest task nothing newer than what is held out is left.
    if (held_N & slowest_N).any() and (slowest_N & ~held_N).any():
        own_K = np.sort(age_N[held_N & slowest_N])[: round(share * int(slowest_N.sum()))]
        assert len(own_K) == 0 or own_K.max() <= age_N[slowest_N & ~held_N].min()


def test_which_rows_are_held_out_does_not_depend_on_what_happened() -> None:
    rng = np.random.default_rng(0)
    age_N = rng.integers(0, 300, 500)
    closing_T = np.array([10, 100])
    lucky_NT = is_aged(age_N, closing_T) | (rng.random((500, 2)) < 0.5)
    plain_NT = is_aged(age_N, closing_T)

    lucky_K = held_out_rows(-age_N, lucky_NT, age_N, closing_T, 0.2)
    plain_K = held_out_rows(-age_N, plain_NT, age_N, closing_T, 0.2)

    np.testing.assert_array_equal(lucky_K, plain_K)


def test_without_ages_the_newest_labelled_rows_are_held_out() -> None:
    ts_N = np.array([5, 1, 3, 3, 2])
    known_NT = np.array([[True], [True], [True], [True], [False]])
    never = np.full(5, FINAL_MS)

    held_K = held_out_rows(ts_N, known_NT, never, np.array([FINAL_MS]), 0.5)

    assert held_K.tolist() == [3, 0]
