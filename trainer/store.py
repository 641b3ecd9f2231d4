"""The example store: training examples as Parquet parts, each with the offsets that it covers.

A part appears under its name with one link, complete and on disk, and carries in its metadata
where the consumption of every partition goes on after it. So rows and offsets cannot disagree: a
crash loses or doubles nothing, whenever it comes.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson
import polars as pl

from models.errors import UserError
from models.examples import example_schema
from models.tasks import TaskSet
from stream.records import TrainingExample

_PARTS: Final = "part-*.parquet"
_OFFSETS: Final = "weir.offsets"
_UNFINISHED: Final = ".tmp"


class StoreError(UserError, RuntimeError):
    """A store that cannot be read or written; the message names file and column."""


class ExampleStore:
    """Appends and reads examples; one writer at a time.

    Args:
        path: Folder of the parts; made if it is not there.
        tasks: What the label columns are made for.

    Raises:
        StoreError: If a part that is there was written for other tasks or cannot be read.
    """

    def __init__(self, path: str | Path, tasks: TaskSet) -> None:
        self.path = Path(path)
        self._tasks = tasks
        self._schema = example_schema(tasks)
        self.path.mkdir(parents=True, exist_ok=True)
        for unfinished in self.path.glob(f"*{_UNFINISHED}"):
            unfinished.unlink()
        self._parts = sorted(self.path.glob(_PARTS))
        for part in self._parts:
            self._check(part)
        self._offsets = _read_offsets(self._parts[-1]) if self._parts else {}

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
        """
        following = {**self._offsets, **offsets}
        number = int(self._parts[-1].stem.removeprefix("part-")) + 1 if self._parts else 0
        part = self.path / f"part-{number:010d}.parquet"
        unfinished = part.with_suffix(f"{_UNFINISHED}")
        text = orjson.dumps({str(key): value for key, value in following.items()}).decode()
        self._frame(examples).write_parquet(unfinished, metadata={_OFFSETS: text})
        _sync(unfinished)
        try:
            os.link(unfinished, part)
        except FileExistsError as error:
            raise StoreError(f"{part}: another trainer writes to this store; stop one") from error
        _sync(self.path)
        unfinished.unlink()
        self._parts.append(part)
        self._offsets = following

    def read(
        self, since_ms: int | None = None, until_ms: int | None = None, spec: str | None = None
    ) -> pl.DataFrame:
        """The newest example of every request, in order of time.

        Args:
            since_ms: First time of a request that counts.
            until_ms: First time that no longer counts.
            spec: Hash of the feature spec that must have made the features.

        Raises:
            StoreError: If a part cannot be read.
        """
        if not self._parts:
            return pl.DataFrame(schema=self._schema)
        frames = [self._slice(part, since_ms, until_ms, spec) for part in self._parts]
        newest = pl.concat(frames).unique("request_id", keep="last", maintain_order=True)
        return newest.sort("ts", "request_id")

    def mature_requests(self) -> Iterator[str]:
        """Ids of the stored examples without a masked label, oldest part first."""
        labels = [pl.col(f"label_{name}").is_not_null() for name in self._tasks.names]
        for part in self._parts:
            yield from _read(part).filter(pl.all_horizontal(labels))["request_id"]

    def _slice(
        self, part: Path, since_ms: int | None, until_ms: int | None, spec: str | None
    ) -> pl.DataFrame:
        frame = _read(part)
        if since_ms is not None:
            frame = frame.filter(pl.col("ts") >= since_ms)
        if until_ms is not None:
            frame = frame.filter(pl.col("ts") < until_ms)
        return frame if spec is None else frame.filter(pl.col("spec") == spec)

    def _check(self, part: Path) -> None:
        try:
            found = pl.read_parquet_schema(part)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(f"{part}: not a readable Parquet file: {error}") from error
        for name, kind in self._schema.items():
            if found.get(name) != kind:
                raise StoreError(
                    f"{part}: {name} is {found.get(name, 'missing')}, {kind} is needed; if the "
                    "tasks changed, name another folder in trainer.store"
                )

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
        }
        return pl.DataFrame(columns, schema=self._schema)


def _read(part: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(part, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreError(f"{part}: not a readable Parquet file: {error}") from error


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
