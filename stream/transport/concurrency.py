"""Waiting for several coroutines, for one for a limited time, and for others to run."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Final

logger = logging.getLogger(__name__)

#: One turn of the event loop advances a write, or a fetch, by one of its stages only.
TURNS: Final = 5


async def turns() -> None:
    """Let everything else that can run do so, for :data:`TURNS` turns of the event loop."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def all_of(*work: Awaitable[object]) -> None:
    """Await all; on the first error cancel the others, wait until they end, and raise it."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def at_most(seconds: float, work: Coroutine[Any, Any, object]) -> bool:
    """Await `work` for so long; False if it failed or was cancelled at the timeout.

    For closing a producer that is not used any more: how it fails does not matter.
    """
    try:
        await asyncio.wait_for(work, seconds)
    except Exception as error:  # noqa: BLE001 - the producer is dropped in any case
        logger.debug("closing failed: %r", error)
        return False
    return True
