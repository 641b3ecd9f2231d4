"""Daemon threads for calls that may hang: the process can exit without waiting for them."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """Run a blocking call without blocking the event loop; its result, or the exception it raises.

    The exit of the process waits for threads of ``asyncio.to_thread``, but not for these.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():  # the caller was cancelled
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result, fault = None, None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - raised again in the caller
            fault = error
        try:
            loop.call_soon_threadsafe(settle, result, fault)
        except RuntimeError:
            logger.debug("a thread ended after its event loop had been closed")

    threading.Thread(target=body, name="weir-artifact", daemon=True).start()
    return await future
