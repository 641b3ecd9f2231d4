"""Facts that are gathered from the brokers."""

import pytest

from models.settings import Settings
from stream.doctor.facts import newest_request
from stream.kafka.client import client_options
from tests.stream.kafka.batches.fetched import batch, send_raw

pytestmark = pytest.mark.broker


async def test_the_newest_request_may_be_hostile(settings: Settings) -> None:
    """A last record whose header name is not UTF-8 is read all the same."""
    sound = batch([(1_700_000_000_000, None, b"{}", [])])
    hostile = batch([(1_700_000_000_500, None, b"{}", [(b"\xff", b"x")])])
    client = client_options(settings.kafka)
    await send_raw(client, settings.topics.requests, 0, [(sound, 1), (hostile, 1)])
    found = await newest_request(settings, settings.kafka.partitions)
    assert found is not None
    assert found.timestamp_ms == 1_700_000_000_500
