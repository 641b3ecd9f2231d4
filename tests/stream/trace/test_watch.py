"""Requests, garbage collections and a late event loop are noted while they are watched."""

import asyncio
import gc
import time
from contextlib import suppress

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest_v7
from aiokafka.protocol.transaction import EndTxnRequest_v0

from stream.trace.span import Span
from stream.trace.tracer import Tracer
from stream.trace.watch import RequestWatch, api_name, watch_loop, watched_collections


async def test_requests_are_timed_while_a_trace_is_written() -> None:
    """One that fails is timed, too; a client that was made without a trace is left alone."""
    spans: list[Span] = []
    watch = RequestWatch()
    other, client = (AIOKafkaClient(bootstrap_servers="127.0.0.1:1") for _ in range(2))
    watch.add(other)
    watch.tracer = Tracer(spans.extend)
    watch.add(client)
    with suppress(Exception):
        await client.send(0, EndTxnRequest_v0("id", 1, 2, True))
    assert [span.name for span in spans] == ["kafka EndTxn"]
    assert "send" in vars(client)
    assert "send" not in vars(other)


def test_a_request_has_kafkas_name() -> None:
    """Without aiokafka's versions."""
    request = ProduceRequest_v7(None, -1, 1000, [])
    assert api_name(request) == "Produce"


def test_collections_are_noted_with_their_generation() -> None:
    """Only while they are watched."""
    spans: list[Span] = []
    with watched_collections(Tracer(spans.extend)):
        gc.collect(1)
    gc.collect(0)
    noted = [span.attributes["generation"] for span in spans if span.name == "garbage collection"]
    assert noted.count(1) == 1


async def test_a_loop_that_is_held_up_is_noted_with_how_long() -> None:
    """What blocked it is not known, but when and for how long."""
    spans: list[Span] = []
    tracer = Tracer(spans.extend)
    watching = asyncio.create_task(watch_loop(tracer))
    await asyncio.sleep(0.01)
    spans.clear()
    time.sleep(0.05)
    deadline_s = time.monotonic() + 5
    while not spans and time.monotonic() < deadline_s:
        await asyncio.sleep(0.001)
    watching.cancel()
    assert max(span.ms for span in spans if span.name == "event loop late") > 40
