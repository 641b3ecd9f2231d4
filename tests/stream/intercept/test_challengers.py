"""Which canary and shadow are in force, and which partitions a canary decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifact import load_artifact
from models.bounds import MAX_PARTITION
from stream.intercept.candidates import Candidate
from stream.intercept.challengers import Challenger, Challengers
from stream.intercept.loaded_model import LoadedModel
from stream.messages import ModelRole
from tests.tiny_artifact import Make

SHARES = st.floats(0.001, 1.0)


def candidate(number: int) -> Candidate:
    return Candidate(f"registry/v{number}", f"v{number}", f"{number:064d}", ("models", 0, number))


def challenger(number: int, role: ModelRole = ModelRole.CANARY, share: float = 0.5) -> Challenger:
    return Challenger(candidate(number), role, share)


@pytest.fixture
def model(make_artifact: Make) -> LoadedModel:
    return LoadedModel(load_artifact(make_artifact()), threads=1, batch=64)


def decided(share: float, partitions: int) -> list[int]:
    one = challenger(1, share=share)
    return [number for number in range(partitions) if one.decides(number)]


def test_a_share_of_the_partitions_is_spread_over_all_of_them() -> None:
    assert decided(0.25, 8) == [0, 4]
    assert decided(0.5, 8) == [0, 2, 4, 6]
    assert decided(0.001, 8) == [0]
    assert decided(1.0, 5) == [0, 1, 2, 3, 4]
    assert challenger(1, share=1.0).decides(MAX_PARTITION)


@given(SHARES, st.integers(1, 300))
def test_the_share_is_met_within_the_discrepancy_of_the_sequence(share: float, count: int) -> None:
    """Van der Corput's sequence: less than one partition per binary digit of the count away."""
    assert abs(len(decided(share, count)) - share * count) <= 1 + count.bit_length() / 2


@given(SHARES, SHARES)
def test_a_greater_share_keeps_the_partitions_of_a_smaller_one(one: float, two: float) -> None:
    assert set(decided(min(one, two), 64)) <= set(decided(max(one, two), 64))


def test_the_newest_of_a_role_is_in_force() -> None:
    found = Challengers()
    first, second, shadow = challenger(1), challenger(2), challenger(3, ModelRole.SHADOW)
    for each in (first, shadow, second):
        found.announce(each)
    assert set(found) == {second, shadow}
    assert not found.has(first)
    assert found.next(0.0) in {second, shadow}
    assert found.loaded(ModelRole.CANARY) is None


def test_a_version_to_serve_ends_both() -> None:
    found = Challengers()
    found.announce(challenger(1))
    found.announce(challenger(2, ModelRole.SHADOW))
    found.supersede(candidate(9))
    assert list(found) == []


def test_a_promoted_canary_stays_until_it_serves(model: LoadedModel) -> None:
    found = Challengers()
    canary = challenger(1)
    found.announce(canary)
    found.announce(challenger(2, ModelRole.SHADOW))
    assert found.promote(candidate(1)) is None  # not loaded yet
    canary.model = model
    found.supersede(candidate(1))
    assert list(found) == [canary]
    assert found.promote(candidate(1)) is model
    assert found.promote(candidate(2)) is None
    found.served(candidate(1))
    assert list(found) == []


def test_the_same_folder_with_another_hash_is_another_artifact(model: LoadedModel) -> None:
    found = Challengers()
    canary = challenger(1)
    canary.model = model
    found.announce(canary)
    other = Candidate("registry/v1", "v1", "f" * 64, ("models", 0, 9))
    assert found.promote(other) is None
    found.supersede(other)
    assert list(found) == []


def test_one_that_failed_is_dropped(model: LoadedModel) -> None:
    found = Challengers()
    canary = challenger(1)
    canary.model = model
    found.announce(canary)
    assert found.loaded(ModelRole.CANARY) is canary
    assert found.next(0.0) is None
    assert found.drop(model) is canary
    assert found.drop(model) is None
    assert found.loaded(ModelRole.CANARY) is None
