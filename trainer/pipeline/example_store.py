"""The example store: training examples as Parquet parts, each with the offsets that it covers.

A part appears under its name with one link, complete and on disk, and carries in its metadata
where the consumption of every partition goes on after it. So rows and offsets cannot disagree: a
crash loses or doubles nothing, whenever it comes. A part that cannot be read any more is set aside,
named, and the others go on; if it was the newest, its examples are read from the topic again.
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
from trainer.pipeline.parts import DamagedPartError, seal, verify

logger = logging.getLogger(__name__)

_PARTS: Final = "part-*.parquet"
_OFFSETS: Final = "weir.offsets"
_UNFINISHED: Final = ".tmp"
_ASIDE: Final = ".unreadable"


class StoreError(UserError, RuntimeError):
    """A store that cannot be used; the message names file and column."""


class ExampleStore:
    """Appends examples; one writer at a time.

    Args:
        path: Folder of the parts; made if it is not there.
        tasks: What the label columns are made for.

    Attributes:
        rows: Stored examples, repeated requests included.
        aside: Parts that were set aside since the start.

    Raises:
        StoreError: If a part that is there was written for other tasks, or the folder cannot be
            read.
    """

    def __init__(self, path: str | Path, tasks: TaskSet) -> None:
        self.path = Path(path)
        self._tasks = tasks
        self._schema = example_schema(tasks) | {WEIGHT: pl.Float64()}
        self.path.mkdir(parents=True, exist_ok=True)
        for unfinished in self.path.glob(f"*{_UNFINISHED}"):
            unfinished.unlink()
        self.aside: list[Path] = []
        self._parts: dict[Path, int] = {}
        for part in sorted(self.path.glob(_PARTS)):
            try:
                self._parts[part] = self._check(part)
            except DamagedPartError as error:
                self.set_aside(part, str(error))
        self._offsets = _read_offsets(self.parts[-1]) if self._parts else {}

    @property
    def parts(self) -> list[Path]:
        """The files of the store, oldest first; they never change."""
        return list(self._parts)

    @property
    def rows(self) -> int:
        """How many examples are stored, earlier ones of the same request included."""
        return sum(self._parts.values())

    @property
    def offsets(self) -> dict[int, int]:
        """Per partition of the examples topic: where consumption goes on."""
        return dict(self._offsets)

    def append(self, examples: Sequence[TrainingExample], offsets: Mapping[int, int]) -> None:
        """Store examples together with the offsets behind them; nothing is stored on an error.

        Args:
            examples: May be empty, when the consumed records held none.
            offsets: Per partition where consumption goes on after these examples; partitions that
                are not named stay where they are.

        Raises:
            StoreError: If another writer was faster.
            OSError: If the disk does not take it.
        """
        following = {**self._offsets, **offsets}
        parts = self.parts
        number = int(parts[-1].stem.removeprefix("part-")) + 1 if parts else 0
        part = self.path / f"part-{number:010d}.parquet"
        unfinished = part.with_suffix(f"{_UNFINISHED}")
        text = orjson.dumps({str(key): value for key, value in following.items()}).decode()
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
        seal(part)
        self._parts[part] = len(examples)
        self._offsets = following

    def set_aside(self, part: Path, reason: str) -> None:
        """Leave a part out from now on; it stays beside the others under another name."""
        aside = part.with_suffix(_ASIDE)
        part.rename(aside)
        lost = self._parts.pop(part, None)
        self.aside.append(aside)
        logger.error(
            "%s; it is set aside as %s, and its %s examples are missing from rebuilds",
            *(reason, aside.name, "" if lost is None else lost),
        )

    def _check(self, part: Path) -> int:
        """Rows of a part."""
        try:
            verify(part)
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
        raise StoreError(f"{part}: it carries no {_OFFSETS}; it is not a part of an example store")
    return {int(partition): offset for partition, offset in orjson.loads(text).items()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
