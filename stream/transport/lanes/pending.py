"""Chunks that wait for their commit, and what is done with several of them together."""

from collections.abc import Iterable
from dataclasses import dataclass

from stream.transport.chunk import Instead, Outputs, RecordsRefusedError

Key = tuple[str, int]  # topic and number of an input partition


@dataclass(slots=True, eq=False)
class Pending:
    """A chunk that waits for its commit.

    Attributes:
        key: The input partition.
        start: First offset.
        end: Offset after the last one.
        outputs: Records to write.
        instead: Returns what to write instead, if a topic does not accept some of them.
        queued: Whether it waits for a transaction that takes it.
        committed: Whether a transaction has committed it.
    """

    key: Key
    start: int
    end: int
    outputs: Outputs
    instead: Instead | None
    queued: bool = True
    committed: bool = False


def by_key(group: Iterable[Pending]) -> dict[Key, list[Pending]]:
    """Chunks by partition, in order."""
    chunks: dict[Key, list[Pending]] = {}
    for chunk in group:
        chunks.setdefault(chunk.key, []).append(chunk)
    return chunks


def replace(group: list[Pending], error: RecordsRefusedError) -> None:
    """Replace the outputs of the chunks whose records a topic has refused.

    Raises:
        RecordsRefusedError: If one of these chunks has no `instead`.
    """
    first = 0
    for chunk in group:
        end = first + len(chunk.outputs.get(error.topic, ()))
        mine = error.within(first, end)
        first = end
        if mine.indices and chunk.instead is None:
            raise error
        if mine.indices and chunk.instead is not None:
            chunk.outputs = chunk.instead(chunk.outputs, mine)
