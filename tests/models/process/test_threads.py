import asyncio
import subprocess
import threading

import pytest

from models.process.isolated import module_command
from models.process.threads import in_daemon_thread


async def test_results_and_exceptions_reach_the_caller() -> None:
    """As if the call had been made in the event loop."""
    assert await in_daemon_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread(lambda: 1 // 0)


async def test_the_event_loop_is_not_blocked() -> None:
    """Other tasks run while the call waits."""
    may_return = threading.Event()
    call = asyncio.ensure_future(in_daemon_thread(may_return.wait))
    await asyncio.sleep(0)
    assert not call.done()
    may_return.set()
    assert await call


async def test_a_cancelled_caller_leaves_the_thread_alone() -> None:
    """The late result is dropped."""
    may_return, ended = threading.Event(), threading.Event()

    def call() -> None:
        may_return.wait()
        ended.set()

    task = asyncio.ensure_future(in_daemon_thread(call))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_return.set()
    assert await asyncio.to_thread(ended.wait, 60)


def test_a_process_exits_while_a_call_hangs() -> None:
    """Its exit does not wait for the thread."""
    code = (
        "import asyncio, threading\n"
        "from models.process.threads import in_daemon_thread\n"
        "async def main():\n"
        "    asyncio.ensure_future(in_daemon_thread(threading.Event().wait))\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(main())\n"
    )
    command = module_command("timeit", "-n1", "-r1", f"exec({code!r}, {{}})")
    done = subprocess.run(command, timeout=120, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
