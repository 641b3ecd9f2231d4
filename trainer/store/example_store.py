"""The example store: requests and outcomes as two Delta tables, written by one trainer.

``STORE/examples`` and ``STORE/outcomes`` hold every delivery of a passed request and of an outcome,
by event time (:mod:`trainer.store.event_table`). They are joined when they are read
(:mod:`trainer.store.snapshot`), so neither the trainer nor the feedback worker holds a pending
request. The outcomes of a flush are committed before its examples: after a crash at any time the
table of outcomes has at least what the watermark claims.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from stream.messages import Outcome, TrainingExample
from trainer.store.event_table import EventTable
from trainer.store.locations import create_folder
from trainer.store.schemas import (
    EXAMPLE_COLUMNS,
    OUTCOME_COLUMNS,
    StoredExample,
    StoredOutcome,
    example_frame,
    outcome_frame,
)
from trainer.store.weights import MeanWeights

EXAMPLES: Final = "examples"
OUTCOMES: Final = "outcomes"
"""Names of the tables."""
#: Memory of a row besides its id and features: objects, references and small values.
ROW_BYTES: Final = 600


@dataclass(slots=True)
class Batch:
    """Consumed records of both topics, until they are stored.

    Attributes:
        examples: Requests.
        outcomes: Outcomes.
        example_offsets: Next offset of the examples topic, by partition.
        outcome_offsets: Next offset of the outcomes topic, by partition.
        bytes: About the memory that the rows take.
    """

    examples: list[StoredExample] = field(default_factory=list)
    outcomes: list[StoredOutcome] = field(default_factory=list)
    example_offsets: dict[int, int] = field(default_factory=dict)
    outcome_offsets: dict[int, int] = field(default_factory=dict)
    bytes: int = 0

    def __len__(self) -> int:
        return len(self.examples) + len(self.outcomes)

    def add_example(self, row: StoredExample) -> None:
        """Add a request."""
        self.examples.append(row)
        self.bytes += ROW_BYTES + row.features_C.nbytes + len(row.example.request_id)

    def add_outcome(self, row: StoredOutcome) -> None:
        """Add an outcome."""
        self.outcomes.append(row)
        self.bytes += ROW_BYTES + len(row.outcome.request_id)


class ExampleStore:
    """Appends requests and outcomes.

    Args:
        url: Folder, or URL that Delta Lake takes.
        examples_topic: Topic of the examples.
        outcomes_topic: Topic of the outcomes.

    Attributes:
        url: As given.
        examples: Table of the requests.
        outcomes: Table of the outcomes.

    Raises:
        StoreError: If a table has other columns, or cannot be read.
        OSError: If its folder cannot be created.
    """

    def __init__(self, url: str, examples_topic: str, outcomes_topic: str) -> None:
        create_folder(url)
        self.url = url
        self._topics = examples_topic, outcomes_topic
        self.examples = EventTable(url, EXAMPLES, EXAMPLE_COLUMNS)
        self._weights = MeanWeights()
        self.outcomes = EventTable(url, OUTCOMES, OUTCOME_COLUMNS)

    @property
    def rows(self) -> int:
        """Number of stored examples, counting every delivery of a request."""
        return self.examples.rows

    @property
    def bytes(self) -> int:
        """Size of the files of both tables."""
        return sum(file.size for table in (self.examples, self.outcomes) for file in table.files)

    @property
    def watermark(self) -> int | None:
        """The stored watermark, in ms; None before the first request."""
        return stored_watermark(self.examples, self.outcomes)

    def offset(self, topic: str, partition: int) -> int:
        """Next offset to consume of a partition of one of the two topics."""
        table = self.examples if topic == self._topics[0] else self.outcomes
        return table.offset(topic, partition)

    def rows_between(self, first_ms: int, end_ms: int) -> int:
        """About the number of stored examples with an event time in [first, end).

        It is computed from the tables' metadata; the rows of a file are taken to be spread evenly
        between its first and last time.
        """
        shares = (
            file.rows * (file.share_before(end_ms) - file.share_before(first_ms))
            for file in self.examples.files
        )
        return max(0, round(sum(shares)))

    def requests_between(self, first_ms: int, end_ms: int) -> int:
        """About the number of passed requests that the examples in [first, end) stand for.

        As :meth:`rows_between`, each example counted as often as its weight says.
        """
        files = self.examples.files
        shares = (
            weight * file.rows * (file.share_before(end_ms) - file.share_before(first_ms))
            for file, weight in zip(files, self._weights.of(files), strict=True)
        )
        return max(0, round(sum(shares)))

    def reopen(self) -> None:
        """Forget what is known of both tables and read their newest version, as a new writer.

        Raises:
            OSError: If that fails.
        """
        self.examples.reopen()
        self.outcomes.reopen()

    def append(self, batch: Batch, watermark_ms: int | None) -> None:
        """Store a batch; after an error, call it again with the same batch and watermark.

        Raises:
            AnotherWriterError: If another process writes to the store.
            OSError: If it cannot be written.
        """
        examples_topic, outcomes_topic = self._topics
        if batch.outcome_offsets:
            frame = outcome_frame(batch.outcomes)
            self.outcomes.append(frame, outcomes_topic, batch.outcome_offsets, watermark_ms)
            batch.outcomes, batch.outcome_offsets = [], {}
        if batch.example_offsets or (watermark_ms or 0) > (self.watermark or 0):
            frame = example_frame(batch.examples)
            self.examples.append(frame, examples_topic, batch.example_offsets, watermark_ms)
            batch.examples, batch.example_offsets = [], {}
        batch.bytes = 0


def stored_watermark(*tables: EventTable) -> int | None:
    """The later watermark of some tables."""
    return max((table.watermark or 0 for table in tables), default=0) or None


def example_rows(
    made: Sequence[TrainingExample], partition: int = 0, first_offset: int = 0
) -> list[StoredExample]:
    """Rows of examples that follow each other in one partition."""
    return [
        StoredExample.of(example, partition, first_offset + number)
        for number, example in enumerate(made)
    ]


def outcome_rows(
    made: Sequence[Outcome], partition: int = 0, first_offset: int = 0
) -> list[StoredOutcome]:
    """Rows of outcomes that follow each other in one partition."""
    return [
        StoredOutcome(outcome, partition, first_offset + number)
        for number, outcome in enumerate(made)
    ]


def batch_of(
    examples: Sequence[StoredExample],
    outcomes: Sequence[StoredOutcome],
    example_offsets: Mapping[int, int],
    outcome_offsets: Mapping[int, int],
) -> Batch:
    """A batch of these rows."""
    batch = Batch(example_offsets=dict(example_offsets), outcome_offsets=dict(outcome_offsets))
    for row in examples:
        batch.add_example(row)
    for outcome in outcomes:
        batch.add_outcome(outcome)
    return batch
