"""Threads for what may hang, that the end of the process does not wait for."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """What ``function`` returns or raises; other tasks go on meanwhile.

    The threads of ``asyncio.to_thread`` are waited for at the end of the process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result, fault = None, None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - raised again by who waits
            fault = error
        try:
            loop.call_soon_threadsafe(settle, result, fault)
        except RuntimeError:
            logger.debug("a thread ended after its loop")

    threading.Thread(target=body, name="weir-artifact", daemon=True).start()
    return await future
