"""Topics and partitions that are blocked for a known reason are reported until they continue."""

from stream.kafka.batches import CorruptBatchError
from stream.transport.incidents import Incidents


def test_what_is_blocked_is_named_until_it_continues() -> None:
    """A corrupt batch by its partition, writes by their topic, independently of each other."""
    incidents = Incidents()
    assert incidents.blocked == frozenset()
    incidents.partition_paused(CorruptBatchError("in", 3, 5, 9), 1.0)
    incidents.writes_blocked({"out": "no leader", "other": "missing"}, 5.0)
    incidents.writes_blocked({"out": "no leader"}, 10.0)
    assert incidents.blocked == {"in[3]", "out", "other"}
    incidents.writes_resumed(["other"])
    incidents.partition_resumed("in", 3)
    assert incidents.blocked == {"out"}
    incidents.writes_resumed(["out"])
    assert incidents.blocked == frozenset()
