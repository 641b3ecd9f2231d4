"""Commands that start processes of their own end in order on SIGTERM, as they do on Ctrl-C."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_until_terminated(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as ``asyncio.run`` does; SIGTERM cancels it, too.

    By default SIGTERM ends a process at once: children outlive it, and those that need a broker
    which ends with it wait for its answer in vain. Cancelled, the coroutine leaves its context
    managers, which stop what they started.

    Raises:
        SystemExit: After SIGTERM, when the coroutine has ended; with the status of shells, 143.
        KeyboardInterrupt: After Ctrl-C.
    """
    terminated = False

    async def cancellable() -> T:
        task = asyncio.current_task()

        def end() -> None:
            nonlocal terminated
            terminated = True
            if task is not None:
                task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        return await work

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if not terminated:
            raise
        sys.exit(128 + signal.SIGTERM)
