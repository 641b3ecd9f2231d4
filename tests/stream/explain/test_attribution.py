"""Attribution: additive on every game, exact where it can be, and honest about disagreement."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features import FeatureSpec
from stream.explain.attribution import Attribution, attribute, leaves, rank_correlation

SPEC = FeatureSpec.parse(
    """
[[feature]]
name = "a"
kind = "categorical"
path = "a"
size = 10

[[feature]]
name = "b"
kind = "categorical"
path = "b"
size = 10

[[feature]]
name = "many"
kind = "tags"
path = "c[*]"
size = 10
slots = 2

[[feature]]
name = "ab"
kind = "cross"
of = ["a", "b"]
size = 10
""",
    "test",
)
IDS_C = np.array([3, 14, 25, 20, 37], np.int32)
PLAYERS = [("a", [0]), ("b", [1]), ("many", [2, 3])]

Game = Callable[[npt.NDArray[np.int32]], npt.NDArray[np.float64]]


def explained(game: Game, pairs: int = 8) -> Attribution:
    rng = np.random.default_rng(1)
    return attribute(game, SPEC.features, IDS_C, PLAYERS, rng, pairs)


def present(ids_NC: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Which columns are not missing."""
    empty = np.array([f.offset for f in SPEC.features for _ in range(f.slots)])
    return np.asarray(ids_NC != empty)


def test_a_sum_is_attributed_to_its_terms_without_error() -> None:
    """Without interactions every order, and occlusion, gives the terms themselves."""
    weights_C = np.array([1.0, -2.0, 4.0, 8.0, 0.0])
    made = explained(lambda ids_NC: present(ids_NC) @ weights_C[:, None])
    np.testing.assert_allclose(made.path_AM[:, 0], [1.0, -2.0, 4.0])
    np.testing.assert_allclose(made.occlusion_AM[:, 0], [1.0, -2.0, 4.0])
    np.testing.assert_allclose(made.error_AM, 0.0, atol=1e-12)
    assert made.order(0) == [2, 1, 0]
    assert made.agreement(0) == pytest.approx(1.0)


def test_a_cross_belongs_to_its_parts() -> None:
    """It is there only where both of its parts are, and each gets half of what it makes."""
    made = explained(lambda ids_NC: present(ids_NC)[:, 4:].astype(float))
    np.testing.assert_allclose(made.path_AM[:, 0], [0.5, 0.5, 0.0])
    np.testing.assert_allclose(made.occlusion_AM[:, 0], [1.0, 1.0, 0.0])
    assert leaves(SPEC.features[3]) == [0, 1]


def test_methods_that_disagree_say_so() -> None:
    """Of features that stand in for each other occlusion sees none; the path credits both."""
    made = explained(
        lambda ids_NC: (
            10.0 * present(ids_NC)[:, :2].any(axis=1) + 1.0 * present(ids_NC)[:, 2]
        )[:, None]
    )  # fmt: skip
    np.testing.assert_allclose(made.path_AM[:, 0], [5.0, 5.0, 1.0])
    np.testing.assert_allclose(made.occlusion_AM[:, 0], [0.0, 0.0, 1.0])
    assert made.agreement(0) == pytest.approx(-1.0)


@given(st.lists(st.floats(-5, 5), min_size=32, max_size=32), st.integers(1, 5))
def test_attributions_add_up_on_any_game(values: list[float], pairs: int) -> None:
    """Whatever the interactions and the number of orders."""
    table = np.array(values)

    def game(ids_NC: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        return table[present(ids_NC) @ (1 << np.arange(5))][:, None]

    made = explained(game, pairs)
    assert made.path_AM[:, 0].sum() == pytest.approx(made.value_M[0] - made.baseline_M[0], abs=1e-9)
    assert made.residual(0) == pytest.approx(0.0, abs=1e-9)


def test_a_request_without_features_has_nothing_to_attribute() -> None:
    """No players: value and baseline are the same."""
    made = attribute(
        lambda ids_NC: present(ids_NC).sum(axis=1, keepdims=True).astype(float),
        SPEC.features,
        np.array([0, 10, 20, 20, 30], np.int32),
        [],
        np.random.default_rng(0),
        2,
    )
    assert made.path_AM.shape == (0, 1)
    assert made.agreement(0) is None
    assert made.value_M == made.baseline_M


def test_ranks_of_ties_are_shared() -> None:
    """Spearman's correlation as defined, and none for constants."""
    assert rank_correlation(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 2, 9])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0, 1]), np.array([1.0, 2])) is None
    assert rank_correlation(np.array([1.0, np.nan]), np.array([1.0, 2])) is None
