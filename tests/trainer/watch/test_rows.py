"""The rows of a watch: those of one version, from the swap on, with final labels only."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.artifact import load_artifact
from models.artifact.scorer import Scorer
from stream.messages import Outcome
from tests.tiny_artifact import Make
from tests.trainer.watch.market import (
    CLOSE,
    START,
    WINDOWS,
    artifact,
    examples,
    outcomes,
    stored,
)
from trainer.store.locations import StoreError
from trainer.watch.rows import read_watched, values_of
from trainer.watch.verdict import Watched

VALUES_T = values_of({"click": 2.0, "deal": 5.0}, ["click", "online"])


def read(make: Make, store: Path, most: int = 10**6, since_ms: int = START) -> Watched:
    subject, before = (
        Scorer(load_artifact(artifact(make, version, weights)))
        for version, weights in (("v2", CLOSE), ("v1", (-0.05,) * 3))
    )
    return read_watched(str(store), "v2", since_ms, most, subject, before, WINDOWS, VALUES_T)


def test_labels_are_those_of_the_events_and_windows(make_artifact: Make, tmp_path: Path) -> None:
    """Compared one by one with the outcomes, open windows included."""
    made = examples(1000)
    hits = outcomes(made)
    late = Outcome(made[0].request_id, "click", made[0].ts + 61_000)  # after its window
    watermark_ms = START + 100_000 + 100
    stored(tmp_path / "s", made, [*hits, late], watermark_ms)
    watched = read(make_artifact, tmp_path / "s")
    events = {(hit.request_id, hit.task) for hit in hits}
    for task, (name, window_ms) in enumerate(zip(WINDOWS.names, WINDOWS.windows_ms, strict=True)):
        for row, one in enumerate(made):
            label = watched.labels_NT[row, task]
            if watermark_ms - one.ts <= window_ms + WINDOWS.lateness_ms:
                assert np.isnan(label)
            else:
                assert label == ((one.request_id, name) in events)
    assert np.isfinite(watched.labels_NT[:, 0]).sum() == 351
    assert np.isnan(watched.labels_NT[:, 1]).all()
    assert watched.values_T.tolist() == [2.0, 0.0]


def test_scores_are_those_of_both_versions(make_artifact: Make, tmp_path: Path) -> None:
    made = examples(50)
    stored(tmp_path / "s", made, [], START)
    watched = read(make_artifact, tmp_path / "s")
    ids_NC = np.array([one.features for one in made])
    for scores_NT, weights in ((watched.scores_NT, CLOSE), (watched.previous_NT, (-0.05,) * 3)):
        expected_N = 1 / (1 + np.exp(-ids_NC @ np.array(weights)))
        assert scores_NT[:, 0] == pytest.approx(expected_N, rel=1e-5)


def test_only_what_the_version_passed_since_the_swap_counts(
    make_artifact: Make, tmp_path: Path
) -> None:
    """Not earlier requests, those of other versions and specs; of one id the newest."""
    mine, others = examples(30), examples(30, "v1", first=30)
    foreign = [msgspec.structs.replace(one, spec="other") for one in examples(5, first=60)]
    again = [msgspec.structs.replace(mine[20], ts=mine[20].ts + 7)]
    stored(tmp_path / "s", [*mine, *others, *foreign], [], START)
    stored(tmp_path / "s", again, [], START)
    watched = read(make_artifact, tmp_path / "s", since_ms=START + 1_000)
    assert len(watched.labels_NT) == 20


def test_the_first_rows_are_read_and_no_more(make_artifact: Make, tmp_path: Path) -> None:
    """Further requests change nothing, whatever their number."""
    made = examples(300)
    hits = outcomes(made)
    stored(tmp_path / "s", made[:200], hits, START + 10**6)
    before = read(make_artifact, tmp_path / "s", most=100)
    stored(tmp_path / "s", made[200:], [], START + 10**6)
    after = read(make_artifact, tmp_path / "s", most=100)
    assert len(before.labels_NT) == 100
    assert np.array_equal(before.scores_NT, after.scores_NT)
    assert np.array_equal(before.labels_NT, after.labels_NT)


def test_an_empty_store_has_no_rows_and_a_missing_one_is_an_error(
    make_artifact: Make, tmp_path: Path
) -> None:
    stored(tmp_path / "s", examples(3, "v1"), [], START)
    empty = read(make_artifact, tmp_path / "s")
    assert empty.labels_NT.shape == (0, 2)
    assert replace(empty, values_T=VALUES_T).scores_NT.shape == (0, 2)
    with pytest.raises(StoreError):
        read(make_artifact, tmp_path / "nothing")
