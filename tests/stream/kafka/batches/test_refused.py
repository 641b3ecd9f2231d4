"""A batch with a wrong checksum is fetched again before it is skipped."""

import pytest

from stream.kafka.batches import CorruptBatchError, CorruptBatches


@pytest.mark.parametrize(
    ("last", "end", "wanted"), [(14, 30, 14), (2**31, 30, 29), (3, 30, 10), (14, None, 14)]
)
def test_a_corrupt_batch_is_skipped_after_the_last_fetch(
    last: int, end: int | None, wanted: int
) -> None:
    """The last offset in its header counts up to the end of the partition."""
    corrupt, error = CorruptBatches(), CorruptBatchError("t", 1, 10, last)
    for _ in range(2):
        counted = [corrupt.count(error, end) for _ in range(3)]
        assert counted[:2] == [None, None]
        assert counted[2] is not None
        assert (counted[2].offset, counted[2].last_offset) == (10, wanted)
