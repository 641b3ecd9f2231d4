"""What waits for a known cause is told as long as it does."""

from stream.kafka.batches import CorruptBatchError
from stream.transport.incidents import Incidents


def test_what_waits_is_named_until_it_goes_on() -> None:
    """A corrupt batch by its partition, writes by their topic; each ends for itself."""
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
