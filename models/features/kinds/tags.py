"""tags: several values, each by the hash of its text, in slots of their own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns
from models.features.feature import Feature, Ids
from models.features.layout import Layout, Reading
from models.features.path import EACH
from models.features.plan import COMMA, Op, OpCode, PlanBuilder
from models.features.spec_reader import TableReader
from models.features.values import RowMemo, name_seed, tags_of

_MAX_SLOTS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsFeature(Feature):
    """The first values of a list, or of a text with separators, one per slot.

    Attributes:
        split: Separator of a text that holds several tags; "" for a list.
    """

    kind: ClassVar[str] = "tags"
    keys: ClassVar[frozenset[str]] = frozenset({"path", "size", "slots", "split"})

    split: str = ""

    @classmethod
    def parse(cls, table: TableReader, before: Sequence[Feature], **position: Any) -> Self:
        """Read the table: ``path``, ``size``, ``slots`` and ``split``."""
        del before
        split = table.get("split", "")
        if not isinstance(split, str) or (table.has("split") and not split):
            table.fail("split", "must be a non-empty text, such as ','")
        places = table.places(many=not split)
        for place in places:
            if not split and not place.path.stars:
                table.fail(
                    "path", f"reaches one value: write {place}[*] for a list, or give 'split'"
                )
        slots = table.integer("slots", 1, _MAX_SLOTS)
        return cls(size=table.size(), slots=slots, places=places, split=split, **position)

    @classmethod
    def reader(cls, features: Sequence[Self], layout: Layout) -> "TagsReader":
        """A reader of all of them, with a memo per feature."""
        return TagsReader(
            [
                (each, reading, memo)
                for each in features
                for memo in [RowMemo(each.name, each.size, each.offset)]
                for reading in layout.readings(each)
            ]
        )

    def compile(self, plan: PlanBuilder, layout: Layout) -> bool:
        """An operation per slot, or one that counts the tags so far."""
        for reading in layout.readings(self):
            if self.split:
                split = self._split(plan, reading, plan.counter())
                plan.add(reading.steps, split)
                plan.add((*reading.steps, EACH), split)
                plan.expect_lists(reading.steps)
            elif reading.steps.count(EACH) == 1:
                self._compile_list(plan, reading)
            else:
                self._compile_nested_lists(plan, reading)
        return True

    def _compile_list(self, plan: PlanBuilder, reading: Reading) -> None:
        steps = reading.steps
        star = steps.index(EACH)
        for slot in range(self.slots):
            row = Op(OpCode.ROW, reading.column + slot, size=1, **self._hash)
            plan.add((*steps[:star], slot, *steps[star + 1 :]), row)
        if steps[-1] == EACH:
            plan.add(steps[:-1], self._split(plan, reading, plan.counter()))
            plan.expect_lists(steps[:-1])
        else:
            plan.expect_lists(steps)

    def _compile_nested_lists(self, plan: PlanBuilder, reading: Reading) -> None:
        steps = reading.steps
        inner = len(steps) - steps[::-1].index(EACH)
        counter = plan.element_counter(steps[:inner])
        tag = Op(OpCode.TAG, reading.column, size=self.slots, counter=counter, **self._hash)
        plan.add(steps, tag)
        if steps[-1] == EACH:
            plan.add(steps[:-1], self._split(plan, reading, counter))
            plan.expect_lists(steps[:-1])
        else:
            plan.expect_lists(steps)

    def _split(self, plan: PlanBuilder, reading: Reading, counter: int) -> Op:
        separator = self.split.encode() or COMMA
        text = plan.text(separator)
        return Op(
            OpCode.SPLIT,
            reading.column,
            text,
            self.slots,
            counter=counter,
            flag=len(separator),
            **self._hash,
        )

    @property
    def _hash(self) -> dict[str, int]:
        return {"buckets": self.size - 1, "seed": name_seed(self.name)}


class TagsReader:
    """Reads tags.

    Args:
        readings: Features and places with the memos of the features.
    """

    def __init__(self, readings: Sequence[tuple[TagsFeature, Reading, RowMemo]]) -> None:
        self._readings = readings

    def fill(self, ids_EN: Ids, columns: Columns, times_N: npt.NDArray[np.int64]) -> None:
        """Write the features' columns."""
        for feature, reading, memo in self._readings:
            if columns.nothing_at(reading.steps):
                ids_EN[reading.column : reading.column + feature.slots] = memo.missing
                continue
            for slot, values in enumerate(_slots(feature, reading, columns)):
                ids_EN[reading.column + slot] = memo.rows(values, len(times_N))


def _slots(feature: TagsFeature, reading: Reading, columns: Columns) -> Iterator[Iterable[Any]]:
    """The N values of each slot in turn."""
    steps = reading.steps
    if steps.count(EACH) == 1:
        star = steps.index(EACH)
        for slot in range(feature.slots):
            yield columns.values((*steps[:star], slot, *steps[star + 1 :]))
        return
    if feature.split:
        lists = [_split_tags(value, feature.split) for value in columns.values(steps)]
    else:
        lists = columns.elements(steps)
    for slot in range(feature.slots):
        yield [values[slot] if len(values) > slot else None for values in lists]


def _split_tags(value: Any, separator: str) -> list[Any]:
    """The tags of a text, or of the texts in a list."""
    if type(value) is list:
        return [tag for text in value for tag in tags_of(text, separator)]
    return tags_of(value, separator)
