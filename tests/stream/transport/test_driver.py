"""The URL scheme ``weir`` selects the transport, which refuses settings that would lose records."""

import faust
import pytest
from faust.exceptions import ImproperlyConfigured

from stream.transport import app_options
from stream.transport.consumer import Consumer
from stream.transport.driver import Transport

OPTIONS = app_options(
    bootstrap="127.0.0.1:1", session_timeout_s=6, max_chunk_records=10, max_chunk_bytes=1000
)


async def test_an_app_has_the_consumer_of_the_transport() -> None:
    """Faust finds it by the entry point."""
    app = faust.App("group", **OPTIONS)
    assert isinstance(app.transport, Transport)
    assert isinstance(app.consumer, Consumer)


async def test_a_reset_to_latest_is_refused() -> None:
    """It would skip the chunks in flight of a group that has committed nothing yet."""
    app = faust.App("group", **{**OPTIONS, "consumer_auto_offset_reset": "latest"})
    with pytest.raises(ImproperlyConfigured, match="consumer_auto_offset_reset"):
        app.transport  # noqa: B018 - it is made at its first use
