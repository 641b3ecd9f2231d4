"""Files that others may have put there: pipes, devices, links, endless ones."""

import os
import threading
import time
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from models.artifact.folder import (
    MAX_HANGING_READS,
    Deadline,
    DeadlineError,
    FileTooLargeError,
    Folder,
    FolderError,
    MissingFileError,
    NotAFileError,
)


@pytest.mark.parametrize("way", ["{}", "file://{}"])
def test_a_file_is_read_up_to_its_bound(tmp_path: Path, way: str) -> None:
    """A file as long as it may be is read; one byte more is too large."""
    (tmp_path / "file").write_bytes(b"12345")
    folder = Folder(way.format(tmp_path))
    assert folder.read("file", 5) == b"12345"
    with pytest.raises(FileTooLargeError, match="file: more than 4 bytes"):
        folder.read("file", 4)


def test_object_stores_have_the_same_bounds() -> None:
    """On another filesystem, too, size and kind are looked at before anything is read."""
    with fsspec.open("memory://bounded/file", "wb") as file:
        file.write(b"12345")
    folder = Folder("memory://bounded")
    assert folder.read("file", 5) == b"12345"
    with pytest.raises(FileTooLargeError, match="5 bytes, more than 4"):
        folder.read("file", 4)
    with pytest.raises(MissingFileError):
        folder.read("other", 4)
    with pytest.raises(NotAFileError):
        Folder("memory://").read("bounded", 4)


def test_a_store_that_lies_about_sizes_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the bound is read, whatever size was stated."""
    with fsspec.open("memory://lying/file", "wb") as file:
        file.write(b"x" * 1000)
    lie = {"name": "/lying/file", "size": 1, "type": "file"}
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *_args, **_named: lie)
    with pytest.raises(FileTooLargeError):
        Folder("memory://lying").read("file", 4)


def test_pipes_devices_and_folders_are_no_files(tmp_path: Path) -> None:
    """None of them is waited for, and none is read without end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "zero", "folder"):
        with pytest.raises(FolderError):
            Folder(str(tmp_path)).read(name, 1000)


def test_links_may_not_lead_out_of_the_root(tmp_path: Path) -> None:
    """A link to a file below the root is followed, one to anywhere else is refused."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "v1").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    (root / "real").write_bytes(b"fine")
    (root / "v1" / "inside").symlink_to(root / "real")
    (root / "v1" / "file").symlink_to(outside / "file")
    (root / "v2").symlink_to(outside)
    assert Folder(f"{root}/v1", str(root)).read("inside", 9) == b"fine"
    for folder in ("v1", "v2"):
        with pytest.raises(NotAFileError, match="it leads out"):
            Folder(f"{root}/{folder}", str(root)).read("file", 9)
    assert Folder(f"{root}/v2").read("file", 9) == b"secret"


@pytest.mark.parametrize("url", ["nosuchfs://x/y", "zip::x", "::", "ftp://127.0.0.1:1/x", "tar::x"])
def test_a_url_that_is_none_is_an_error(url: str) -> None:
    """Whatever fsspec makes of it, it comes out as one kind of error."""
    with pytest.raises(FolderError):
        Folder(url).read("file", 9)


def test_nobody_waits_for_what_hangs() -> None:
    """Time is up for all reads of a deadline together, and the thread is left behind."""
    go_on = threading.Event()
    deadline = Deadline(0.2)
    assert deadline.run("quick", lambda: 5) == 5
    began = time.monotonic()
    with pytest.raises(DeadlineError, match=r"a pipe: not read within 0\.2 s"):
        deadline.run("a pipe", go_on.wait)
    with pytest.raises(DeadlineError):
        deadline.run("another", go_on.wait)
    assert time.monotonic() - began < 30
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "weir-read")
    go_on.set()


def test_hanging_threads_do_not_pile_up() -> None:
    """With a few of them nothing more is begun until one has ended."""
    go_on = threading.Event()
    for _ in range(MAX_HANGING_READS):
        with pytest.raises(DeadlineError, match="not read within"):
            Deadline(0.05).run("stuck", go_on.wait)
    with pytest.raises(DeadlineError, match="earlier reads hang"):
        Deadline(5).run("one more", go_on.wait)
    go_on.set()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            assert Deadline(5).run("again", lambda: "fine") == "fine"
            break
        except DeadlineError:
            time.sleep(0.01)
    else:
        pytest.fail("the threads did not end")


def test_what_a_read_raises_is_raised_here() -> None:
    """An error in the thread is that of the caller."""

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        Deadline(30).run("failing", fail)
