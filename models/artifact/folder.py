"""Reading the files of a folder, on any filesystem that fsspec supports, within limits.

An entry of a folder that others write to may be a pipe, a device, or an endless file. So a file is
read only if it is a regular one, only up to a maximum size, and in a daemon thread with a deadline:
a filesystem or object store that hangs delays neither a process nor its exit.
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
MAX_HANGING_READS: Final = 4
"""Maximum number of threads that hang in a filesystem; then no further read is started."""


class FolderError(UserError):
    """A file that cannot be read within its limits; the message names it and the fix."""


class MissingFileError(FolderError):
    """The file does not exist."""


class FileTooLargeError(FolderError):
    """The file is larger than its maximum size."""


class NotAFileError(FolderError):
    """It is a pipe, a device, a folder, or a link to a file outside of the root."""


class DeadlineError(FolderError):
    """The filesystem did not respond in time."""


class Folder:
    """The files of one folder.

    Args:
        url: A path or an fsspec URL.
        root: On the local filesystem, a folder that must contain all files after symbolic links are
            resolved; None for no such restriction.

    Raises:
        FolderError: If fsspec cannot open the URL.
    """

    def __init__(self, url: str, root: str | None = None) -> None:
        self.url = url
        self._root = None if root is None else os.path.realpath(root)
        try:
            self._fs, path = fsspec.core.url_to_fs(url)
        except Exception as error:  # each filesystem has exceptions of its own
            raise FolderError(f"{url}: {type(error).__name__}: {error}") from error
        self._path = str(path).rstrip("/")

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of a file of at most ``max_bytes`` bytes.

        Raises:
            FolderError: The subclass says why; the base class means that it is unreachable.
        """
        path = f"{self._path}/{name}"
        try:
            local = isinstance(self._fs, LocalFileSystem)
            content = (
                self._read_local(path, max_bytes) if local else self._read_remote(path, max_bytes)
            )
        except FolderError:
            raise
        except FileNotFoundError as error:
            raise MissingFileError(f"{self.url}/{name}: there is no such file") from error
        except Exception as error:  # each filesystem has exceptions of its own
            raise FolderError(f"{self.url}/{name}: {type(error).__name__}: {error}") from error
        if len(content) > max_bytes:
            raise FileTooLargeError(f"{self.url}/{name}: more than {max_bytes} bytes")
        return content

    def _read_local(self, path: str, max_bytes: int) -> bytes:
        if self._root is not None:
            inside = Path(os.path.realpath(path)).is_relative_to(self._root)
            _require(inside, f"{path}: it leads out of {self._root}")
        # opening a pipe would wait for its writer
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor has no path
            _require(stat.S_ISREG(os.fstat(handle).st_mode), f"{path}: not a regular file")
            return file.read(max_bytes + 1)

    def _read_remote(self, path: str, max_bytes: int) -> bytes:
        info: dict[str, Any] = self._fs.info(path)
        _require(info.get("type") == "file", f"{path}: not a file")
        size = info.get("size")
        if isinstance(size, int) and size > max_bytes:
            raise FileTooLargeError(f"{path}: {size} bytes, more than {max_bytes}")
        with self._fs.open(path, "rb") as file:
            return bytes(file.read(max_bytes + 1))


class Deadline:
    """A deadline for one or more calls that may hang.

    Args:
        seconds: Seconds from now until the deadline.
        clock: Monotonic clock, in seconds.
    """

    _hanging = threading.BoundedSemaphore(MAX_HANGING_READS)

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ends = clock() + seconds

    def run(self, what: str, function: Callable[[], T]) -> T:
        """Run a function; its result, or the exception it raises.

        Args:
            what: Name of the thing that is read, for the error.
            function: The function; it runs in a daemon thread.

        Raises:
            DeadlineError: If the deadline passes first; the thread is then abandoned.
        """
        if not self._hanging.acquire(blocking=False):
            raise DeadlineError(
                f"{what}: {MAX_HANGING_READS} earlier reads hang; mend the storage and restart"
            )
        outcome: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

        def body() -> None:
            try:
                outcome.put((function(), None))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller
                outcome.put((None, error))
            finally:
                self._hanging.release()

        threading.Thread(target=body, name="weir-read", daemon=True).start()
        try:
            result, error = outcome.get(timeout=max(0.0, self._ends - self._clock()))
        except Empty:
            raise DeadlineError(f"{what}: not read within {self._seconds:g} s") from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise NotAFileError(fault)
