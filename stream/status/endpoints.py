"""Metrics endpoints: from HOST:PORT to the samples of every process behind it."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.samples import Sample

from models.errors import UserError
from models.settings import Settings
from stream.metrics.scrape import read_metrics

MAX_ADDRESSES: Final = 256
"""Addresses of one host that are read."""


class EndpointError(UserError, ValueError):
    """An endpoint that is not HOST:PORT; the message names it and the setting."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The metrics of one process.

    Attributes:
        address: HOST:PORT, the host resolved.
        samples: Its samples; None if it does not answer.
    """

    address: str
    samples: "Samples | None"


class Samples:
    """The samples of one process, by name and labels."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._by_name: dict[str, list[Sample]] = {}
        for sample in samples:
            self._by_name.setdefault(sample.name, []).append(sample)

    def value(self, name: str, **labels: str) -> float | None:
        """The first sample of a name with these labels; None if there is none."""
        for sample in self._by_name.get(name, ()):
            if labels.items() <= sample.labels.items():
                return sample.value
        return None

    def total(self, name: str, **labels: str) -> float:
        """Sum of all samples of a name with these labels."""
        found = self._by_name.get(name, ())
        return sum(each.value for each in found if labels.items() <= each.labels.items())

    def by(self, name: str, label: str) -> dict[str, float]:
        """Values of a name by one label, summed over the others."""
        found: dict[str, float] = {}
        for sample in self._by_name.get(name, ()):
            key = sample.labels.get(label, "")
            found[key] = found.get(key, 0.0) + sample.value
        return found

    def labels(self, name: str) -> Mapping[str, str]:
        """Labels of the first sample of a name whose value is not 0; empty if there is none."""
        return next((each.labels for each in self._by_name.get(name, ()) if each.value), {})

    def failed(self, name: str) -> list[Mapping[str, str]]:
        """Labels of all samples of a name whose value is 0."""
        return [each.labels for each in self._by_name.get(name, ()) if not each.value]


def configured(settings: Settings) -> tuple[str, ...]:
    """The endpoints that the settings name."""
    if settings.status.endpoints:
        return settings.status.endpoints
    ports = {settings.worker.metrics_port, settings.trainer.metrics_port} - {0}
    return tuple(f"127.0.0.1:{port}" for port in sorted(ports))


async def read_endpoints(endpoints: Sequence[str]) -> list[Endpoint]:
    """Read all processes behind some endpoints, at once.

    Raises:
        EndpointError: If one is not HOST:PORT.
    """
    parts = [_split(endpoint) for endpoint in endpoints]
    resolved = await asyncio.gather(*(_addresses(host, port) for host, port in parts))
    addresses = list(dict.fromkeys(address for group in resolved for address in group))
    return list(await asyncio.gather(*(_read(host, port) for host, port in addresses)))


def _split(endpoint: str) -> tuple[str, int]:
    host, separator, port = endpoint.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) not in range(1, 65_536):
        raise EndpointError(
            f"{endpoint!r} is not HOST:PORT, as in 127.0.0.1:9464; mend status.endpoints or "
            "--endpoint"
        )
    return host.strip("[]"), int(port)


async def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    """All addresses of a host; the host itself if it is not found, so that it is reported."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return [(host, port)]
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    return [(address, port) for address in list(addresses)[:MAX_ADDRESSES]]


async def _read(host: str, port: int) -> Endpoint:
    samples = await asyncio.to_thread(read_metrics, port, host=host)
    shown = f"[{host}]" if ":" in host else host
    return Endpoint(f"{shown}:{port}", None if samples is None else Samples(samples))
