"""A partition with a corrupt batch is paused for longer each time, alone, until it can be read."""

from faust.types import TP

from stream.kafka.batches import CorruptBatchError
from stream.transport.corrupt_partitions import LAST_BACKOFF_S, CorruptPartitions
from stream.transport.incidents import Incidents


def test_the_backoff_doubles_up_to_its_limit_and_starts_again_after_a_success() -> None:
    """Other partitions are not paused, and the incident lasts as long as the pause."""
    now_s, incidents = 0.0, Incidents()
    paused = CorruptPartitions(incidents, lambda: now_s)
    corrupt, sound = TP("in", 0), TP("in", 1)
    error = CorruptBatchError("in", 0, 5, 9)
    backoffs = []
    for _ in range(9):
        paused.pause(error)
        assert corrupt in paused
        assert sound not in paused
        start_s = now_s
        while corrupt in paused:
            now_s += 0.5
        backoffs.append(now_s - start_s)
    assert backoffs == [1, 2, 4, 8, 16, 32, LAST_BACKOFF_S, LAST_BACKOFF_S, LAST_BACKOFF_S]
    assert incidents.blocked == {"in[0]"}
    paused.resume(corrupt, sound)
    assert not paused
    assert incidents.blocked == frozenset()
    paused.pause(error)
    now_s += 1.0
    assert corrupt not in paused


def test_partitions_that_are_revoked_are_forgotten() -> None:
    """All of them, with their incidents."""
    incidents = Incidents()
    paused = CorruptPartitions(incidents)
    paused.pause(CorruptBatchError("in", 0, 5, 9))
    paused.pause(CorruptBatchError("in", 1, 5, 9))
    paused.clear()
    assert not paused
    assert incidents.blocked == frozenset()
