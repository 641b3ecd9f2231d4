"""The canary batch: it round-trips, hostile ones are refused, and answers are compared strictly."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifact import (
    ArtifactError,
    ArtifactFault,
    fetch_artifact,
    load_artifact,
    open_artifact,
    write_artifact,
)
from models.artifact.canary import CanaryBatch, CanaryError, Floats32
from models.artifact.scorer import Scorer
from models.artifact.trial import hold_trial
from models.bounds import MAX_CANARY_BYTES, MAX_CANARY_IDS
from tests.tiny_artifact import Make, tiny_manifest, tiny_student

SHAPE = {"columns": 3, "rows": 24, "tasks": 2}


def batch_of(folder: Path, rows: int = 5) -> CanaryBatch:
    ids_NC = np.arange(3 * rows, dtype=np.int32).reshape(rows, 3) % 24
    return CanaryBatch.of(ids_NC, Scorer(load_artifact(folder)).score)


def with_canary(folder: Path, content: bytes, student: bytes | None = None) -> Path:
    """The artifact with this canary batch, and possibly another student."""
    contents = dict(fetch_artifact(folder).contents)
    del contents["manifest.json"]
    contents |= {"canary.json": content, "student.onnx": student or contents["student.onnx"]}
    write_artifact(folder, tiny_manifest(contents), contents)
    return folder


def refusal(folder: Path) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(fetch_artifact(folder))
    return caught.value


@given(
    st.integers(1, 9).flatmap(
        lambda n: st.tuples(
            st.lists(st.lists(st.integers(0, 23), min_size=3, max_size=3), min_size=n, max_size=n),
            st.lists(
                st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=n, max_size=n
            ),
        )
    )
)
def test_a_batch_is_the_same_after_a_round_trip(rows: tuple[list[list[int]], list[list[float]]]):
    ids_NC, answers = np.array(rows[0], np.int32), np.array(rows[1], np.float32)
    batch = CanaryBatch(ids_NC, answers[:, :2], answers[:, 2:])
    read = CanaryBatch.from_bytes(batch.to_bytes(), **SHAPE)
    assert np.array_equal(read.ids_NC, batch.ids_NC)
    assert np.array_equal(read.scores_NT, batch.scores_NT)
    assert np.array_equal(read.uncertainties_NT, batch.uncertainties_NT)
    assert read.tolerance == batch.tolerance


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["ids", "scores", "uncertainties", "tolerance"]), inner, max_size=4
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_anything_else_is_refused_with_a_reason(raw: bytes):
    with pytest.raises(CanaryError, match=r"."):
        CanaryBatch.from_bytes(raw, **SHAPE)


GOOD = {
    "tolerance": 0.001,
    "ids": [[1, 2, 3], [4, 5, 6]],
    "scores": [[0.1, 0.2], [0.3, 0.4]],
    "uncertainties": [[0.01, 0.02], [0.03, 0.04]],
}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ids": [[1, 2, 3], [4, 5, 24]]}, "ids: 24 is no row of the spec, which has 24"),
        ({"ids": [[1, 2, 3], [4, 5, -1]]}, r"ids.1..2."),
        ({"ids": [[1, 2, 3], [4, 5]]}, r"ids: 2 rows of \[2, 3\] columns, not 2 of 3"),
        ({"ids": [[1, 2, 3.5], [4, 5, 6]]}, "int"),
        ({"ids": []}, "length >= 1"),
        ({"ids": [[1, 2, 3]] * 513}, "length <= 512"),
        ({"ids": [[1] * 8193]}, "length <= 8192"),
        ({"scores": [[0.1, 0.2]]}, "scores: 1 rows"),
        ({"scores": [[0.1, 1.2], [0.3, 0.4]]}, "scores: 1.2 is no probability"),
        ({"uncertainties": [[0.1], [0.3]]}, r"uncertainties: 2 rows of \[1\] columns"),
        ({"uncertainties": [[0.01, -0.02], [0.03, 0.04]]}, ">= 0"),
        ({"tolerance": 0.5}, "<= 0.01"),
        ({"tolerance": 0}, "> 0"),
        ({"more": 1}, "unknown field"),
    ],
)
def test_a_fault_of_the_file_is_named(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(CanaryError, match=fault):
        CanaryBatch.from_bytes(json.dumps(GOOD | changes).encode(), **SHAPE)


def test_a_file_over_its_bounds_is_refused_without_reading_it(make_artifact: Make) -> None:
    folder = with_canary(make_artifact(), b"[" * (MAX_CANARY_BYTES + 1))
    assert refusal(folder).code == ArtifactFault.TOO_LARGE
    with pytest.raises(CanaryError, match="at most"):
        CanaryBatch.from_bytes(b"[" * (MAX_CANARY_BYTES + 1), **SHAPE)


def test_a_damaged_file_is_refused_with_its_name(make_artifact: Make) -> None:
    error = refusal(with_canary(make_artifact(), b'{"ids": [[1, 2]]}'))
    assert error.code == ArtifactFault.BAD_CANARY
    assert "canary.json" in error.message


def test_an_artifact_answers_its_own_batch(make_artifact: Make) -> None:
    folder = make_artifact()
    with_canary(folder, batch_of(folder).to_bytes())
    hold_trial(fetch_artifact(folder))
    Scorer(load_artifact(folder)).warm_up()


def test_a_model_with_other_answers_is_refused_in_the_child_and_at_warm_up(
    make_artifact: Make,
) -> None:
    """Another student than the one that was recorded; scores differ by 2 % at most."""
    folder = make_artifact()
    other = tiny_student(weights=[0.1, 0.1, 0.102]).SerializeToString()
    with_canary(folder, batch_of(folder).to_bytes(), other)
    with pytest.raises(ArtifactError, match=r"canary row [0-9]: the score of task 0 is") as child:
        hold_trial(fetch_artifact(folder))
    with pytest.raises(ArtifactError, match=str(folder)) as own:
        Scorer(load_artifact(folder)).warm_up()
    assert {child.value.code, own.value.code} == {ArtifactFault.CANARY_MISMATCH}


def test_other_uncertainties_are_a_mismatch_too(make_artifact: Make) -> None:
    folder = make_artifact()
    other = tiny_student(factor=0.101).SerializeToString()
    with_canary(folder, batch_of(folder).to_bytes(), other)
    with pytest.raises(ArtifactError, match="the uncertainty of task"):
        Scorer(load_artifact(folder)).warm_up()


def zeros(ids_NC: npt.NDArray[np.int32]) -> tuple[Floats32, Floats32]:
    answers_NT = np.zeros((len(ids_NC), 2), np.float32)
    return answers_NT, answers_NT


def test_rows_are_spread_and_bounded() -> None:
    """First and last rows are among them; wide specs get fewer rows."""
    ids_NC = np.arange(1000, dtype=np.int32)[:, None]
    batch = CanaryBatch.of(ids_NC, zeros)
    assert len(batch.ids_NC) == 64
    assert (batch.ids_NC.min(), batch.ids_NC.max()) == (0, 999)
    wide = CanaryBatch.of(np.zeros((1000, 8192), np.int32), zeros)
    assert wide.ids_NC.size <= MAX_CANARY_IDS
    assert len(wide.to_bytes()) <= MAX_CANARY_BYTES
    assert len(CanaryBatch.of(ids_NC[:3], zeros).ids_NC) == 3


def test_no_row_is_a_request_that_was_made() -> None:
    """Columns keep their ids, rows do not stay together, and the answers are those of the rows."""
    ids_NC = np.repeat(np.arange(64, dtype=np.int32)[:, None], 8, axis=1)
    batch = CanaryBatch.of(ids_NC, lambda some: (some[:, :2] / np.float32(64), some[:, 2:4]))
    assert (np.sort(batch.ids_NC, axis=0) == ids_NC).all()
    assert not (batch.ids_NC == batch.ids_NC[:, :1]).all(axis=1).any()
    assert batch.scores_NT.tolist() == (batch.ids_NC[:, :2] / 64).tolist()


def test_no_answer_that_is_not_a_number_agrees() -> None:
    ids_NC, answers_NT = np.zeros((1, 3), np.int32), np.full((1, 2), 0.5, np.float32)
    batch = CanaryBatch(ids_NC, answers_NT, answers_NT)
    batch.check(answers_NT, answers_NT)
    with pytest.raises(CanaryError):
        batch.check(answers_NT * np.nan, answers_NT)
