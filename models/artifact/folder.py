"""Reading the files of one folder, on any filesystem that fsspec knows, in bounded time and space.

A name in a folder that others write to may be a pipe, a device, or a file without end. So a file
is read only if it is a regular one, only up to a bound, and in a thread that nobody waits for
longer than a deadline: neither a stuck filesystem nor a stuck object store holds up a process, or
its end.
"""

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from models.errors import UserError

T = TypeVar("T")
MOST_STUCK: Final = 4
"""Threads that may hang in a filesystem at a time; with more, nothing more is begun."""


class FolderError(UserError):
    """A file that cannot be read within its bounds; the message names it and the fix."""


class MissingFileError(FolderError):
    """There is no such file."""


class FileTooLargeError(FolderError):
    """The file has more bytes than it may."""


class NotAFileError(FolderError):
    """It is a pipe, a device, a folder, or a link that leads out of the folder's root."""


class DeadlineError(FolderError):
    """The filesystem did not answer in time."""


class Folder:
    """Files of one folder.

    Args:
        url: A path or an fsspec URL.
        root: For a folder on the local filesystem, the one that all its files must be below once
            symbolic links are followed; None for no such rule.

    Raises:
        FolderError: If the URL is not one.
    """

    def __init__(self, url: str, root: str | None = None) -> None:
        self.url = url
        self._root = None if root is None else os.path.realpath(root)
        try:
            self._fs, path = fsspec.core.url_to_fs(url)
        except Exception as error:  # each filesystem has exceptions of its own
            raise FolderError(f"{url}: {type(error).__name__}: {error}") from error
        self._path = str(path).rstrip("/")

    def read(self, name: str, most: int) -> bytes:
        """The content of a file of at most ``most`` bytes.

        Raises:
            FolderError: One of its kinds above if it is known which; otherwise unreachable.
        """
        path = f"{self._path}/{name}"
        try:
            local = isinstance(self._fs, LocalFileSystem)
            content = self._read_local(path, most) if local else self._read_remote(path, most)
        except FolderError:
            raise
        except FileNotFoundError as error:
            raise MissingFileError(f"{self.url}/{name}: there is no such file") from error
        except Exception as error:  # each filesystem has exceptions of its own
            raise FolderError(f"{self.url}/{name}: {type(error).__name__}: {error}") from error
        if len(content) > most:
            raise FileTooLargeError(f"{self.url}/{name}: more than {most} bytes")
        return content

    def _read_local(self, path: str, most: int) -> bytes:
        if self._root is not None:
            inside = Path(os.path.realpath(path)).is_relative_to(self._root)
            _need(inside, f"{path}: it leads out of {self._root}")
        # opening a pipe would wait for its writer
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor has no path
            _need(stat.S_ISREG(os.fstat(handle).st_mode), f"{path}: not a regular file")
            return file.read(most + 1)

    def _read_remote(self, path: str, most: int) -> bytes:
        info: dict[str, Any] = self._fs.info(path)
        _need(info.get("type") == "file", f"{path}: not a file")
        size = info.get("size")
        if isinstance(size, int) and size > most:
            raise FileTooLargeError(f"{path}: {size} bytes, more than {most}")
        with self._fs.open(path, "rb") as file:
            return bytes(file.read(most + 1))


class Deadline:
    """Runs what may hang, within one span of time for all of it.

    Args:
        seconds: The span, from now on.
        clock: Seconds that only grow.
    """

    _stuck = threading.BoundedSemaphore(MOST_STUCK)

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ends = clock() + seconds

    def run(self, what: str, function: Callable[[], T]) -> T:
        """What ``function`` returns or raises.

        Args:
            what: Names it in the error.
            function: Runs in a thread of its own, which does not keep the process alive.

        Raises:
            DeadlineError: If time is up first; the thread is left to itself.
        """
        if not self._stuck.acquire(blocking=False):
            raise DeadlineError(f"{what}: {MOST_STUCK} reads before it hang; restart when mended")
        outcome: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

        def body() -> None:
            try:
                outcome.put((function(), None))
            except BaseException as error:  # noqa: BLE001 - raised again by who waits
                outcome.put((None, error))
            finally:
                self._stuck.release()

        threading.Thread(target=body, name="weir-read", daemon=True).start()
        try:
            result, error = outcome.get(timeout=max(0.0, self._ends - self._clock()))
        except Empty:
            raise DeadlineError(f"{what}: not read within {self._seconds:g} s") from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


def _need(right: bool, fault: str) -> None:
    if not right:
        raise NotAFileError(fault)
