"""Waiting for several coroutines, or for one for a limited time."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)


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
