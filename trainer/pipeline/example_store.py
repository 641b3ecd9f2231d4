"""The example store: training examples as Parquet parts, each with the offsets that it covers.

A part is linked to its final name once it is complete and synced to disk, and its metadata holds
the next offset of every partition. So rows and offsets always agree: a crash at any time neither
loses nor duplicates an example. A part that can no longer be read is quarantined, that is renamed,
logged and left out; if it was the newest, its examples are consumed from the topic again.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson
import polars as pl

from models.data.examples import WEIGHT, example_schema
from models.errors import UserError
from models.tasks import TaskSet
from stream.messages import TrainingExample
from trainer.pipeline.part_checksum import DamagedPartError, verify_checksum, write_checksum

logger = logging.getLogger(__name__)

_PARTS: Final = "part-*.parquet"
_OFFSETS: Final = "weir.offsets"
_UNFINISHED: Final = ".tmp"
_QUARANTINED: Final = ".unreadable"


class StoreError(UserError, RuntimeError):
    """An example store that cannot be used; the message names file and column."""


class ExampleStore:
    """Appends examples; one writer at a time.

    Args:
        path: Folder of the parts; created if it does not exist.
        tasks: The tasks; each has a label column.

    Attributes:
        path: Folder of the parts.
        quarantined: Parts that were quarantined since the start.

    Raises:
        StoreError: If an existing part was written for other tasks, or the folder cannot be read.
    """

    def __init__(self, path: str | Path, tasks: TaskSet) -> None:
        self.path = Path(path)
        self._tasks = tasks
        self._schema = example_schema(tasks) | {WEIGHT: pl.Float64()}
        self.path.mkdir(parents=True, exist_ok=True)
        for unfinished in self.path.glob(f"*{_UNFINISHED}"):
            unfinished.unlink()
        self.quarantined: list[Path] = []
        self._parts: dict[Path, int] = {}
        for part in sorted(self.path.glob(_PARTS)):
            try:
                self._parts[part] = self._check(part)
            except DamagedPartError as error:
                self.quarantine(part, str(error))
        self._offsets = _read_offsets(self.parts[-1]) if self._parts else {}

    @property
    def parts(self) -> list[Path]:
        """The files of the store, oldest first; they never change."""
        return list(self._parts)

    @property
    def rows(self) -> int:
        """Number of stored examples, counting every example of a repeated request."""
        return sum(self._parts.values())

    @property
    def bytes(self) -> int:
        """Size of the parts."""
        return sum(part.stat().st_size for part in self._parts)

    @property
    def offsets(self) -> dict[int, int]:
        """Next offset to consume, by partition of the examples topic."""
        return dict(self._offsets)

    def append(self, examples: Sequence[TrainingExample], offsets: Mapping[int, int]) -> None:
        """Store examples and the next offsets as one part; on an error, nothing is stored.

        Args:
            examples: May be empty, if all consumed records were refused.
            offsets: Next offset to consume after these examples, by partition; the offsets of
                other partitions do not change.

        Raises:
            StoreError: If another process writes to the store.
            OSError: If the part cannot be written.
        """
        next_offsets = {**self._offsets, **offsets}
        parts = self.parts
        number = int(parts[-1].stem.removeprefix("part-")) + 1 if parts else 0
        part = self.path / f"part-{number:010d}.parquet"
        unfinished = part.with_suffix(f"{_UNFINISHED}")
        text = orjson.dumps({str(key): value for key, value in next_offsets.items()}).decode()
        try:
            self._frame(examples).write_parquet(unfinished, metadata={_OFFSETS: text})
            _sync(unfinished)
            os.link(unfinished, part)
        except FileExistsError as error:
            raise StoreError(f"{part}: another trainer writes to this store; stop one") from error
        except (pl.exceptions.PolarsError, OSError) as error:
            unfinished.unlink(missing_ok=True)
            raise OSError(f"{unfinished}: {error}") from error
        unfinished.unlink()
        _sync(self.path)
        write_checksum(part)
        self._parts[part] = len(examples)
        self._offsets = next_offsets

    def quarantine(self, part: Path, reason: str) -> None:
        """Rename a damaged part and leave it out from now on."""
        renamed = part.with_suffix(_QUARANTINED)
        part.rename(renamed)
        lost = self._parts.pop(part, None)
        self.quarantined.append(renamed)
        logger.error(
            "%s; quarantined as %s: rebuilds go on without its %s examples",
            *(reason, renamed.name, "" if lost is None else lost),
        )

    def _check(self, part: Path) -> int:
        """Verify a part; the number of its rows."""
        try:
            verify_checksum(part)
            found = pl.read_parquet_schema(part)
            rows: int = pl.scan_parquet(part).select(pl.len()).collect().item()
        except pl.exceptions.PolarsError as error:
            raise DamagedPartError(f"{part}: not a readable Parquet file: {error}") from error
        except OSError as error:
            raise StoreError(f"{part}: cannot be read: {error}") from error
        for name, kind in self._schema.items():
            if found.get(name) != kind and (name in found or name != WEIGHT):
                raise StoreError(
                    f"{part}: {name} is {found.get(name, 'missing')}, {kind} is needed; if the "
                    "tasks changed, name another folder in trainer.store"
                )
        _read_offsets(part)
        return rows

    def _frame(self, examples: Sequence[TrainingExample]) -> pl.DataFrame:
        columns: dict[str, list[object]] = {
            "request_id": [example.request_id for example in examples],
            "ts": [example.ts for example in examples],
            "spec": [example.spec for example in examples],
            "features": [example.features for example in examples],
            **{
                f"label_{name}": [example.labels.get(name) for example in examples]
                for name in self._tasks.names
            },
            "model": [example.decision.model for example in examples],
            "reason": [example.decision.reason.label for example in examples],
            "e": [example.decision.e for example in examples],
            "threshold": [example.decision.threshold for example in examples],
            "propensity": [example.decision.propensity for example in examples],
            WEIGHT: [example.weight for example in examples],
        }
        return pl.DataFrame(columns, schema=self._schema)


def _read_offsets(part: Path) -> dict[int, int]:
    text = pl.read_parquet_metadata(part).get(_OFFSETS)
    if text is None:
        raise StoreError(
            f"{part}: its metadata has no {_OFFSETS}: it is not a part of this store; remove it"
        )
    return {int(partition): offset for partition, offset in orjson.loads(text).items()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
