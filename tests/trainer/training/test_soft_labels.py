from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.training import soft_labels as labels
from trainer.training.context import FitContext
from trainer.training.soft_labels import CHUNK, INTERLEAVED, chunks_of, label_rows


class Numbered:
    """Says of a row its own number, and as its uncertainty that of the set that labelled it."""

    def __init__(self, number: int = -1) -> None:
        self.number = number

    def predict(self, ids_N1: Tensor) -> tuple[Tensor, Tensor]:
        return ids_N1.float(), torch.full(ids_N1.shape, float(self.number))

    def redrawn(self, number: int) -> "Numbered":
        return Numbered(number)


def labelled(ids_N1: Tensor, folder: Path, sets: int = 1) -> tuple[Tensor, Tensor]:
    path = folder / "labels"
    return label_rows(Numbered(), ids_N1, 1, path, sets=sets, context=FitContext())


@settings(deadline=None)
@given(st.integers(0, 3 * INTERLEAVED * CHUNK))
def test_chunks_hold_every_row_once(count: int) -> None:
    """Whatever their number, and none is longer than a chunk."""
    times_N = np.zeros(count, np.int64)
    for chunk in chunks_of(count):
        times_N[chunk] += 1
        assert len(range(count)[chunk]) <= CHUNK
    assert (times_N == 1).all()


@pytest.mark.parametrize("count", [1, 7, 100, 1000])
def test_neighbours_are_labelled_by_different_sets(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row gets its own label, from a set that shares no row with its neighbours'."""
    monkeypatch.setattr(labels, "CHUNK", 16)
    ids_N1 = torch.arange(count).unsqueeze(1)
    mean_N1, set_N1 = labelled(ids_N1, tmp_path)
    torch.testing.assert_close(mean_N1, ids_N1.float())
    sets_N = set_N1[:, 0].numpy()
    assert (sets_N >= 0).all()
    assert (np.diff(sets_N) != 0).all()
    assert len(np.unique(sets_N)) == min(count, INTERLEAVED * -(-count // (INTERLEAVED * 16)))


def test_rows_that_are_labelled_more_than_once_get_the_mean(tmp_path: Path) -> None:
    """By sets of their own: the first chunk by 0, 1 and 2, the next one by 3, 4 and 5."""
    ids_N1 = torch.arange(20).unsqueeze(1)
    mean_N1, set_N1 = labelled(ids_N1, tmp_path, sets=3)
    torch.testing.assert_close(mean_N1, ids_N1.float())
    assert set_N1[:, 0].tolist() == [1.0 + 3 * (row % INTERLEAVED) for row in range(20)]


def test_finished_labels_are_taken_as_they_are(tmp_path: Path) -> None:
    """A run that goes on does not label again."""
    ids_N1 = torch.arange(10).unsqueeze(1)
    first_N1, _ = labelled(ids_N1, tmp_path)
    again_N1, _ = labelled(ids_N1 + 5, tmp_path)
    torch.testing.assert_close(again_N1, first_N1)


class StopHereError(RuntimeError):
    """The run ends here."""


class Counting(Numbered):
    """Counts what it labels, over all its sets, and ends the run after some of them."""

    def __init__(self, number: int = -1, seen: list[int] | None = None, stop_at: int = 0) -> None:
        super().__init__(number)
        self.seen = [] if seen is None else seen
        self.stop_at = stop_at

    def predict(self, ids_N1: Tensor) -> tuple[Tensor, Tensor]:
        if self.stop_at and len(self.seen) == self.stop_at:
            raise StopHereError
        self.seen.append(self.number)
        return super().predict(ids_N1)

    def redrawn(self, number: int) -> "Counting":
        return Counting(number, self.seen, self.stop_at)


class Ticking:
    """Every look at the clock is a minute later."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 60.0
        return self.now_s


@pytest.mark.parametrize("stop_at", [1, 7, 8, 20])
def test_an_interrupted_labelling_goes_on_where_it_was(
    stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks that were flushed are not labelled again, and all labels are those of one run."""
    monkeypatch.setattr(labels, "CHUNK", 16)
    ids_N1 = torch.arange(400).unsqueeze(1)
    chunks = len(list(chunks_of(len(ids_N1))))
    plain = labelled(ids_N1, tmp_path)
    path = tmp_path / "resumed"
    stopping, rest = Counting(stop_at=stop_at), Counting()
    options = {"sets": 1, "context": FitContext(), "clock": Ticking()}
    with pytest.raises(StopHereError):
        label_rows(stopping, ids_N1, 1, path, **options)
    assert not path.exists()
    found = label_rows(rest, ids_N1, 1, path, **options)
    assert stopping.seen + rest.seen == list(range(chunks))
    for one, other in zip(plain, found, strict=True):
        torch.testing.assert_close(one, other)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["labels", "resumed"]
