"""Work that ends in order on SIGTERM."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from models.process.termination import run_until_terminated


def test_sigterm_lets_the_work_leave_its_context_managers() -> None:
    """Its clean-up runs to the end, and the status is that of shells."""
    done: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    with pytest.raises(SystemExit) as end:
        run_until_terminated(work())
    assert end.value.code == 143
    assert done == ["cleaned up"]


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Python's handler of SIGINT, which a shell's background processes are started without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_is_as_with_asyncio() -> None:
    """A KeyboardInterrupt, which the command line turns into status 130."""

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        run_until_terminated(work())


def test_result_and_errors_pass_through() -> None:
    """Also a cancellation that no signal has caused."""

    async def work() -> int:
        await asyncio.sleep(0)
        return 5

    async def cancelled() -> None:
        raise asyncio.CancelledError

    assert run_until_terminated(work()) == 5
    with pytest.raises(asyncio.CancelledError):
        run_until_terminated(cancelled())
