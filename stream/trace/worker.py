"""A trace of a whole process: a service that starts and ends everything that is timed."""

import asyncio
from contextlib import ExitStack
from typing import Final

from mode import Service

from stream.trace.export import Exporter, target_of
from stream.trace.tracer import Tracer
from stream.trace.watch import requests, watch_loop, watched_collections

FLUSH_S: Final = 0.5


class ProcessTrace(Service):  # type: ignore[misc]
    """Writes spans while it runs; start it before the clients that are to be timed are made.

    Args:
        place: A file, or the URL of a collector.
        guarantee: Delivery guarantee of the worker, an attribute of its spans.
        group: Its consumer group.

    Raises:
        UserError: If the file cannot be written.
    """

    def __init__(self, place: str, guarantee: str, group: str) -> None:
        super().__init__()
        service = {
            "service.name": "weir-worker",
            "messaging.system": "kafka",
            "messaging.consumer.group.name": group,
            "weir.guarantee": guarantee,
        }
        self._exporter = Exporter(target_of(place), service)
        self._watched = ExitStack()
        self.tracer = Tracer(self._exporter)

    async def on_start(self) -> None:
        """Begin to watch."""
        requests.tracer = self.tracer
        self._watched.enter_context(watched_collections(self.tracer))

    async def on_stop(self) -> None:
        """Stop to watch; write the rest."""
        requests.tracer = None
        self._watched.close()
        self._exporter.end()
        await asyncio.to_thread(self._exporter.close)

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_loop(self) -> None:
        await watch_loop(self.tracer)

    @Service.task  # type: ignore[untyped-decorator]
    async def _flush(self) -> None:
        while not self.should_stop:
            await self.sleep(FLUSH_S)
            self._exporter.flush()
