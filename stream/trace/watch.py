"""What is timed around the chunks: requests to brokers, garbage collections, a late event loop."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiokafka.client import AIOKafkaClient

from stream.trace.tracer import COLLECTION, LATE, Tracer

EVERY_S: Final = 0.002
#: Less is not noted: timers are as late as this on a healthy machine.
LATE_S: Final = 0.001
_VERSION: Final = "_v"
_SUFFIX: Final = "Request"


class RequestWatch:
    """Times the requests of this process's Kafka clients, from sending to answer.

    Who makes a client passes it to `add`. While no trace is written, that does nothing; so a
    process without a trace has no other `send` than aiokafka's.

    Attributes:
        tracer: Is told every request; None while no trace is written.
    """

    def __init__(self) -> None:
        self.tracer: Tracer | None = None

    def add(self, client: AIOKafkaClient) -> None:
        """Time the requests of `client` from now on, if a trace is written."""
        if self.tracer is not None:
            client.send = _timed(client.send, self.tracer)


#: Clients are made in many places, so there is one for the process.
requests = RequestWatch()


def _timed(send: Callable[..., Any], tracer: Tracer) -> Callable[..., Any]:
    async def timed(node_id: Any, request: Any, **options: Any) -> Any:
        start_s = tracer.now()
        try:
            return await send(node_id, request, **options)
        finally:
            tracer.request(api_name(request), start_s)

    return timed


def api_name(request: object) -> str:
    """Kafka's name of a request's API: ``Produce`` for a ``ProduceRequest_v7``."""
    return type(request).__name__.partition(_VERSION)[0].removesuffix(_SUFFIX).strip("_")


@contextmanager
def watched_collections(tracer: Tracer) -> Iterator[None]:
    """Note every run of the garbage collector."""
    start_s = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal start_s
        if phase == "start":
            start_s = tracer.now()
        else:
            tracer.pause(COLLECTION, start_s, generation=info["generation"])

    gc.callbacks.append(note)
    try:
        yield
    finally:
        gc.callbacks.remove(note)


async def watch_loop(tracer: Tracer) -> None:
    """Note every time by which the event loop ran a timer late, until cancelled."""
    while True:
        due_s = tracer.now() + EVERY_S
        await asyncio.sleep(EVERY_S)
        if tracer.now() - due_s > LATE_S:
            tracer.pause(LATE, due_s)
