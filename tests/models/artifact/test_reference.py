"""The reference of an artifact, and the drift measured against it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.artifact.reference import (
    FEATURE_IDS,
    Reference,
    ReferenceFileError,
    TableCounts,
    psi,
    steady,
)
from models.features import FeatureSpec
from models.tasks import Task, TaskSet

SPEC = FeatureSpec.parse(
    """
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 40

[[feature]]
name = "os"
kind = "categorical"
path = "device.os"
size = 5

[[feature]]
name = "hour"
kind = "time"
path = ["ext.ts", "$timestamp"]
part = "hour-of-day"

[[feature]]
name = "site and hour"
kind = "cross"
of = ["site", "hour"]
size = 50
""",
    "test",
)
TASKS = TaskSet([Task(name="click", window_s=60), Task(name="deal", window_s=120)])


def drawn(seed: int, rows: int, *, shift: int = 0) -> np.ndarray:
    """Ids of requests: sites by Zipf, an even share of four systems; `shift` moves the sites."""
    rng = np.random.default_rng(seed)
    site = np.minimum(rng.zipf(1.5, rows) + shift, 39)
    offsets = [feature.offset for feature in SPEC.features]
    sizes = [feature.size for feature in SPEC.features]
    others = [rng.integers(0, size, rows) for size in sizes[2:]]
    columns = [site, rng.integers(1, 5, rows), *others]
    return np.stack(columns, axis=1).astype(np.int32) + np.array(offsets, np.int32)


def counted(ids_NC: np.ndarray, weights_N: np.ndarray | None = None) -> TableCounts:
    table = TableCounts(SPEC)
    table.add(ids_NC, np.ones(len(ids_NC)) if weights_N is None else weights_N)
    return table


def scores(seed: int, rows: int) -> np.ndarray:
    return np.random.default_rng(seed).beta(2, 5, (rows, 2)).astype(np.float32)


def reference(rows: int = 20_000) -> Reference:
    return Reference.of(counted(drawn(0, rows)), SPEC, scores(0, rows), TASKS)


def test_time_is_left_out() -> None:
    """Hours, and what is crossed with them, move by themselves."""
    assert [feature.name for feature in steady(SPEC)] == ["site", "os"]


def test_requests_like_those_of_the_training_have_no_drift() -> None:
    """Other requests of the same distribution: PSI near its expectation (B - 1) (1/n + 1/m)."""
    ours = reference()
    table = counted(drawn(1, 5_000))
    found = ours.feature_psi(table) | ours.score_psi(scores(1, 5_000), TASKS)
    assert set(found) == {"site", "os", "click", "deal"}
    assert all(0 <= value < 0.02 for value in found.values()), found


def test_what_has_shifted_is_named() -> None:
    """Sites that were rare are frequent now, and one task's scores are halved."""
    ours = reference()
    found = ours.feature_psi(counted(drawn(1, 5_000, shift=3)))
    assert found["site"] > 0.25
    assert found["os"] < 0.02
    halved = scores(1, 5_000) * np.array([0.5, 1.0], np.float32)
    by_task = ours.score_psi(halved, TASKS)
    assert by_task["click"] > 0.25
    assert by_task["deal"] < 0.02


def test_values_that_nobody_had_seen_count_as_others() -> None:
    """Two fifths of the requests come from a new source, whose id had never been counted."""
    old = drawn(0, 5_000)
    ours = Reference.of(counted(old), SPEC, scores(0, 5_000), TASKS)
    new = old.copy()
    unseen = next(each for each in range(39, 0, -1) if each not in ours.features[0].ids)
    new[::5, 0] = new[1::5, 0] = SPEC.features[0].offset + unseen
    assert ours.feature_psi(counted(new))["site"] > 0.25


def test_a_weight_counts_as_so_many_requests() -> None:
    """Half of the rows, at weight 2, have the counts of all."""
    ids_NC = np.repeat(drawn(0, 1_000), 2, axis=0)
    assert (counted(ids_NC).counts_R == counted(ids_NC[::2], np.full(1_000, 2.0)).counts_R).all()


def test_it_is_small_and_reads_back() -> None:
    """At most 16 bins per feature; bytes and back is the same."""
    ours = reference()
    assert max(len(each.ids) for each in ours.features) == FEATURE_IDS
    assert Reference.from_bytes(ours.to_bytes()) == ours
    assert len(ours.to_bytes()) < 2_000


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "not JSON"),
        (b'{"rows":1,"features":[],"scores":{},"more":1}', "more: unknown key"),
        (b'{"rows":1,"features":[{"name":"a","ids":[1],"counts":[1]}],"scores":{}}', "1 counts"),
        (b'{"rows":1,"features":[],"scores":{"a":{"edges":[2,1],"counts":[1,1,1]}}}', "ascending"),
    ],
)
def test_another_content_is_refused(content: bytes, fault: str) -> None:
    """Named by its field."""
    with pytest.raises(ReferenceFileError, match=f"reference.json: .*{fault}"):
        Reference.from_bytes(content)


def test_a_feature_that_the_spec_has_not() -> None:
    """A reference of another spec is an error, not a figure."""
    other = reference().model_copy(
        update={"features": (reference().features[0].model_copy(update={"name": "page"}),)}
    )
    with pytest.raises(ReferenceFileError, match="'page' is not a feature of the spec"):
        other.feature_psi(counted(drawn(0, 10)))


COUNTS = arrays(np.float64, 8, elements=st.integers(0, 10**6).map(float))


@given(COUNTS, COUNTS)
def test_psi_is_a_divergence(a: np.ndarray, b: np.ndarray) -> None:
    """Finite, not negative, symmetric, zero for equal counts."""
    assert np.isfinite(psi(a, b))
    assert psi(a, b) >= 0
    assert psi(a, b) == pytest.approx(psi(b, a))
    assert psi(a, a) == 0


def test_psi_of_two_bins() -> None:
    """By hand, with many requests: (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5)."""
    expected = 0.1 * np.log(0.6 / 0.5) - 0.1 * np.log(0.4 / 0.5)
    assert psi(np.array([5e8, 5e8]), np.array([6e8, 4e8])) == pytest.approx(expected, rel=1e-6)
