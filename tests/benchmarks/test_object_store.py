"""The checks of an object store pass on a folder, which is the reference."""

from pathlib import Path

import pytest

from benchmarks.object_store import CHECKS, check_fence, check_store
from trainer.store.event_table import EventTable


def test_a_folder_passes_all_checks(tmp_path: Path) -> None:
    """In their order: later ones build on what earlier ones stored."""
    for check in CHECKS:
        assert check(str(tmp_path))


def test_a_store_without_a_fence_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an object store that overwrites where it should refuse."""
    check_store(str(tmp_path))
    real = EventTable.append

    def unfenced(self: EventTable, *args: object) -> None:
        self.reopen()
        real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(EventTable, "append", unfenced)
    with pytest.raises(AssertionError, match="two writers appended"):
        check_fence(str(tmp_path))
