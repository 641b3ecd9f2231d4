"""Resident memory of one worker while millions of requests go through it.

A pool of requests is sent repeatedly with new ids, never far ahead of the worker; retention of the
topics is small, to bound the disk. The first fifth of the requests is warm-up;
growth is the median of the last eighth of the samples after it against that of the first eighth.
"""

import asyncio
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.transport.contender import Contender, Running
from benchmarks.transport.traffic import Pool, Sender
from benchmarks.transport.workload import Outputs, StallDetector
from models.settings import Settings

AHEAD: Final = 40_000
_BATCH: Final = 5_000
SAMPLE_S: Final = 0.1
#: Far more than the unread records at any time.
RETENTION: Final = {"retention.bytes": str(256 << 20), "segment.bytes": str(32 << 20)}


async def measure_memory(
    contender: Contender, settings: Settings, requests: int, name: str, folder: Path
) -> dict[str, float]:
    """Send `requests` through one worker and measure its memory.

    Raises:
        ContenderError: If the contender fails.
        StalledError: If it stalls.
    """
    overrides = {**contender.overrides, "topics.requests": f"{name}-requests"}
    async with Outputs(settings.override(overrides), name, own_input=True) as outputs:
        await outputs.configure(RETENTION)
        with Running(contender, outputs.settings, folder / f"{name}.log") as running:
            samples = await _watch(outputs, running, requests)
            await asyncio.to_thread(running.stop)
    return growth(samples, requests)


async def _watch(outputs: Outputs, running: Running, requests: int) -> list[tuple[int, int]]:
    """Samples: pairs of processed requests and resident bytes."""
    sender = Sender(outputs.settings, Pool())
    stall = StallDetector(running)
    samples: list[tuple[int, int]] = []
    sent = done = 0
    while done < requests:
        while sent < min(requests, done + AHEAD):
            count = min(_BATCH, requests - sent)
            await asyncio.to_thread(sender.at_once, sent, count)
            sent += count
        await asyncio.to_thread(sender.flush)
        await asyncio.sleep(SAMPLE_S)
        done = await outputs.done()
        stall.observe(done)
        samples.append((done, running.usage().resident))
    return samples


def growth(samples: list[tuple[int, int]], requests: int) -> dict[str, float]:
    """Growth of memory after the warm-up.

    Args:
        samples: Pairs of processed requests and resident bytes.
        requests: Total number of requests.
    """
    counted = [resident for done, resident in samples if done >= requests / 5]
    eighth = max(1, len(counted) // 8)
    before, after = median(counted[:eighth]), median(counted[-eighth:])
    return {
        "requests": requests,
        "after_warm_up_mb": round(before / 1e6, 1),
        "at_the_end_mb": round(after / 1e6, 1),
        "peak_mb": round(max(size for _, size in samples) / 1e6, 1),
        "growth_percent": round(100 * (after / before - 1), 2),
    }
