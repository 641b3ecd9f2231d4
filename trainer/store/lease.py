"""One writer per store: a lease file that its holder renews.

The file ``lease.json`` in the store names the holder (host, process id, name) and a random token.
The holder writes it again every third of ``LEASE_S``. Another trainer takes over when the file is
gone (the holder stopped), when the holder was a process of this host that no longer runs, or when
the file has not changed for ``LEASE_S`` by the other's own clock: clocks of hosts are not compared.

The lease keeps two trainers from doing the same work; it is not what keeps the store correct. Two
candidates can both write the file before either reads it, and a holder can be suspended between
its last look and a write. What a writer appends then is refused by Delta, which compares
application ids of commits (:mod:`trainer.store.event_table`): rows and offsets are one commit, and
of two commits from the same version only the first is accepted.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import fsspec
import msgspec

from trainer.store.locations import StoreError, place

LEASE_S: Final = 30.0
"""Time after which a lease that is not renewed has expired."""
FILE: Final = "lease.json"
_MOST_BYTES: Final = 4_096


class LostLeaseError(StoreError):
    """Another trainer has taken over the store; the message names it."""


class Holder(msgspec.Struct, frozen=True):
    """Content of the lease file.

    Attributes:
        name: Name of the trainer.
        host: Its host.
        pid: Its process id.
        token: Identifies this hold of the lease.
        renewals: How often it was renewed.
    """

    name: str
    host: str
    pid: int
    token: str
    renewals: int

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid} on {self.host})"


@dataclass(slots=True)
class _Seen:
    """The lease of another as it was when it last changed."""

    holder: Holder
    since_s: float


class Lease:
    """The lease of one store.

    Args:
        store: Folder or URL of the store.
        name: Name of this trainer, for others' logs.
        clock: Seconds, monotonic.
        alive: Whether a process of this host runs.
    """

    def __init__(
        self,
        store: str,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        alive: "Callable[[int], bool] | None" = None,
    ) -> None:
        self.url = place(store, FILE)
        self._clock = clock
        self._alive = alive or _is_alive
        self._mine = Holder(name, socket.gethostname(), os.getpid(), uuid.uuid4().hex, 0)
        self._seen: _Seen | None = None
        self._renewed_s: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether this trainer may write: its last renewal is younger than the lease."""
        return self._renewed_s is not None and self._clock() - self._renewed_s < LEASE_S

    def acquire(self) -> Holder | None:
        """Take the lease if it is free; returns the trainer that holds it otherwise.

        Raises:
            OSError: If the file cannot be read or written.
        """
        now_s = self._clock()
        holder = self._read()
        if holder is not None and holder.token != self._mine.token and self._runs(holder, now_s):
            return holder
        self._write(now_s)
        holder = self._read()
        if holder is None or holder.token == self._mine.token:
            return None
        self._renewed_s = None
        return holder

    def renew(self) -> None:
        """Renew the lease.

        Raises:
            LostLeaseError: If another trainer has it.
            OSError: If the file cannot be read or written; it is still held until it expires.
        """
        now_s = self._clock()
        holder = self._read()
        if holder is not None and holder.token != self._mine.token:
            self._renewed_s = None
            raise LostLeaseError(
                f"{self.url}: the store was taken over by {holder}; this trainer stops writing"
            )
        self._write(now_s)

    def release(self) -> None:
        """Give the lease back, if it is held: the next trainer need not wait."""
        if self._renewed_s is None:
            return
        self._renewed_s = None
        holder = self._read()
        if holder is not None and holder.token == self._mine.token:
            system, path = self._file()
            system.rm_file(path)

    def _runs(self, holder: Holder, now_s: float) -> bool:
        """Whether the holder of another token may still write."""
        if holder.host == self._mine.host and (
            holder.pid == self._mine.pid or not self._alive(holder.pid)
        ):
            return False
        if self._seen is None or self._seen.holder != holder:
            self._seen = _Seen(holder, now_s)
        return now_s - self._seen.since_s < LEASE_S

    def _file(self) -> tuple[Any, str]:
        system, path = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        return system, path

    def _read(self) -> Holder | None:
        system, path = self._file()
        try:
            with system.open(path, "rb") as file:
                raw = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(raw, type=Holder)
        except msgspec.DecodeError:  # being written, or damaged: nobody's, until it stays so
            return Holder("an unknown trainer", "an unknown host", 0, "", len(raw))

    def _write(self, now_s: float) -> None:
        renewed = msgspec.structs.replace(self._mine, renewals=self._mine.renewals + 1)
        system, path = self._file()
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        with system.transaction, system.open(path, "wb") as file:  # visible when it is complete
            file.write(msgspec.json.encode(renewed))
        self._mine = renewed
        self._renewed_s = now_s


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
