"""Changes of settings: they survive the wire, and keys name a scenario."""

import pytest

from stream.messages import RecordError, read_change, read_scenario, write_change


def test_a_change_and_its_taking_back_come_back() -> None:
    """A JSON object is a change, a tombstone takes one back."""
    assert read_change(write_change({"rate": 0.5})) == {"rate": 0.5}
    assert read_change(write_change(None)) is None


@pytest.mark.parametrize(
    ("key", "message"),
    [(None, "key: empty"), (b"", "key: empty"), (b"\xff", "not UTF-8"), (b"a" * 300, "longer")],
)
def test_a_key_names_a_scenario(key: bytes | None, message: str) -> None:
    """Any text up to the limit; whatever else a key is, the error says why."""
    assert read_scenario("é".encode()) == "é"
    assert read_scenario(b"*") == "*"
    with pytest.raises(RecordError, match=message):
        read_scenario(key, 200)
