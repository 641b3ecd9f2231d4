"""The settings of Faust are made from those of Kafka."""

import pytest

from stream.transport import broker_url, heartbeat_s


@pytest.mark.parametrize(
    ("bootstrap", "url"),
    [("a:1", "weir://a:1"), (" a:1 , b:2,", "weir://a:1;weir://b:2")],
)
def test_every_bootstrap_server_is_one_url(bootstrap: str, url: str) -> None:
    """Blanks and empty parts are ignored."""
    assert broker_url(bootstrap) == url


def test_no_bootstrap_server_is_an_error() -> None:
    """It names the form that is expected."""
    with pytest.raises(ValueError, match="host:port"):
        broker_url(" ,")


def test_a_session_outlives_two_lost_heartbeats() -> None:
    """Short sessions have more frequent heartbeats, long ones one every three seconds."""
    assert heartbeat_s(6.0) == 2.0
    assert heartbeat_s(45.0) == 3.0
