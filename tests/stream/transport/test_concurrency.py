"""Coroutines that are awaited together end together, and closing takes no longer than allowed."""

import asyncio

import pytest

from stream.transport.concurrency import all_of, at_most


async def test_the_first_error_cancels_the_others_and_is_raised() -> None:
    """When it is raised, nothing is running any more."""
    cancelled = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await all_of(waits(), fails())
    assert cancelled.is_set()


async def test_what_takes_too_long_or_fails_is_false_and_nothing_is_raised() -> None:
    """Only what has ended in time is true."""

    async def fails() -> None:
        raise OSError("disk full")

    assert await at_most(60.0, asyncio.sleep(0))
    assert not await at_most(0.01, asyncio.Event().wait())
    assert not await at_most(60.0, fails())
