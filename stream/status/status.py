"""Gathers the facts of `weir status`; parts that are down are reported, not raised."""

import asyncio
from collections.abc import Sequence

from models.settings import Settings
from stream.status.brokers import ask_brokers, read_registry
from stream.status.endpoints import configured, read_endpoints
from stream.status.facts import Status
from stream.status.processes import processes, trainers, workers


async def gather(settings: Settings, endpoints: Sequence[str], now_s: float) -> Status:
    """The state of everything.

    Args:
        settings: All settings.
        endpoints: HOST:PORT of the processes; empty for those that the settings name.
        now_s: Seconds since the epoch.

    Raises:
        EndpointError: If an endpoint is not HOST:PORT.
    """
    found, brokers = await asyncio.gather(
        read_endpoints(endpoints or configured(settings)), ask_brokers(settings)
    )
    return Status(
        brokers=brokers,
        registry=await read_registry(settings, brokers.announced),
        processes=processes(found),
        workers=workers(found),
        trainers=trainers(found, now_s),
        expected_workers=settings.worker.expected,
    )
