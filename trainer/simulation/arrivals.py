"""Sources that arrive and leave: publishers, apps and geographies that no model has seen before.

Every day a Poisson number of sources arrives, and each stays for an exponential time. While it is
there it takes a share of the requests: these carry its own ids instead of known ones, and the
logits of all four steps are shifted by its quality. Qualities are standard deviations of the known
requests' logits; they are centred so that the rates of the whole stream stay those of the funnel.
All other requests, and the number and times of all of them, are those of the stream without
arrivals, to the last bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from trainer.simulation.requests import Names
from trainer.simulation.world import (
    CITIES,
    DAY_MS,
    ITEMS,
    SIZES,
    UTC_OFFSETS,
    Float64Array,
    Ints,
    Scene,
    World,
)

KNOWN: Final = -1
"""Number of the source of a request from the inventory that was always there."""
PER_DAY: Final = 4096
"""Most arrivals of a day: source ``n`` is number ``n % PER_DAY`` of day ``n // PER_DAY``."""
LONGEST: Final = 4.0
"""Longest stay, in mean stays."""
MOST: Final = 0.6
"""Most of the stream that all arrived sources take together; above it all shrink alike."""
ITEMS_EACH: Final = 4
"""Sites and apps of an arrived publisher."""
COMMON: Final = 0.8
"""Weight (a cosine) of what a source's steps share in its quality; the rest is each step's own."""


class SourceKind(IntEnum):
    """What arrives.

    Attributes:
        PUBLISHER: A publisher with sites and apps of its own.
        APP: A site or an app of a known publisher.
        GEOGRAPHY: A city in a region of its own, in a known country.
    """

    PUBLISHER = 0
    APP = 1
    GEOGRAPHY = 2


@dataclass(frozen=True, slots=True)
class ArrivalShape:
    """How often sources arrive, how large they are, and how much they differ.

    Attributes:
        per_day: Mean number of arrivals a day.
        share: Mean share of all requests that a source has; shares are log-normal.
        stay_days: Mean stay.
        quality: Standard deviation of a source's quality in each step.
        start_day: Day of the stream before which nothing arrives.
    """

    per_day: float
    share: float
    stay_days: float
    quality: float = 1.2
    start_day: float = 0.0


FREQUENT: Final = ArrivalShape(per_day=24.0, share=0.01, stay_days=1.0)
"""Many small sources: 24 at a time, with a hundredth of the traffic each."""
RARE: Final = ArrivalShape(per_day=2.4, share=0.1, stay_days=1.0)
"""Few large sources: 2.4 at a time, with a tenth of the traffic each."""
SHAPES: Final = {"frequent": FREQUENT, "rare": RARE}


@dataclass(frozen=True, slots=True)
class Arrived:
    """One source.

    Attributes:
        number: Its number, unique in the stream.
        kind: What it is.
        start_ms: Time of its first request.
        end_ms: Time at which it has left.
        share: Its share of all requests while it is there.
        quality_T: Shift of the logit of each step, in standard deviations of known requests.
        bases: Items (a city) of the known inventory whose other properties its own have.
    """

    number: int
    kind: SourceKind
    start_ms: int
    end_ms: int
    share: float
    quality_T: Float64Array
    bases: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A scene in which arrived sources have their requests.

    Attributes:
        scene: Codes and numbers; those of arrived sources are the codes of their bases.
        number_N: Number of the source of each request, :data:`KNOWN` for known inventory.
        slot_N: Which of its source's items it comes from, in [0, ``ITEMS_EACH``).
        shift_NT: Shift of the logit of each step, float64 (N, 4).
    """

    scene: Scene
    number_N: Ints
    slot_N: Ints
    shift_NT: Float64Array

    @property
    def names(self) -> Names:
        """The numbers that the sources are named by, beyond those of known inventory."""
        arrived_N = self.number_N != KNOWN
        kind_N = np.where(arrived_N, self.number_N % PER_DAY % len(SourceKind), KNOWN)
        item_N = ITEMS + self.number_N * ITEMS_EACH + self.slot_N * (kind_N == SourceKind.PUBLISHER)
        place_N = arrived_N & (kind_N == SourceKind.GEOGRAPHY)
        return Names(
            item_N=np.where(arrived_N & ~place_N, item_N, KNOWN),
            publisher_N=np.where(
                kind_N == SourceKind.PUBLISHER, SIZES["publisher"] + self.number_N, KNOWN
            ),
            city_N=np.where(place_N, self.number_N, KNOWN),
        )


class Arrivals:
    """The sources of one stream; any stretch of it can be asked for in any order.

    Args:
        shape: How they arrive.
        seed: Seed of the simulation.
        start_ms: Time of the stream's first request.
    """

    def __init__(self, shape: ArrivalShape, seed: int, start_ms: int) -> None:
        self.shape = shape
        self._seed, self._start_ms = seed, start_ms
        self._centre_T: Float64Array = np.zeros(4)
        self._of_day = lru_cache(256)(self._arrive)

    def centre(self, offset: Callable[[Float64Array], Float64Array], rows: int) -> None:
        """Centre the qualities so that the rates of the stream are kept.

        Args:
            offset: From qualities of ``rows`` requests, (rows, 4), the shift per step, (4,), with
                which their rates are those of the funnel.
            rows: Requests of the sample.
        """
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, 6]))
        self._centre_T = offset(self._qualities(rng, rows))
        self._of_day = lru_cache(256)(self._arrive)

    def source(self, number: int) -> Arrived:
        """The source with this number.

        Raises:
            IndexError: If there is none.
        """
        return self._of_day(number // PER_DAY)[number % PER_DAY]

    def between(self, first_ms: int, last_ms: int) -> list[Arrived]:
        """All sources that are there at some time from ``first_ms`` to ``last_ms``."""
        stay = LONGEST * self.shape.stay_days
        days = ((ms - self._start_ms) / DAY_MS for ms in (first_ms, last_ms))
        first, last = (int(np.floor(day)) for day in days)
        span = range(max(first - int(np.ceil(stay)), 0), last + 1)
        begin_ms = self._start_ms + self.shape.start_day * DAY_MS
        return [
            source
            for day in span
            for source in self._of_day(day)
            if begin_ms <= source.start_ms <= last_ms and source.end_ms > first_ms
        ]

    def place(self, rng: np.random.Generator, scene: Scene, ts_N: Ints, world: World) -> Placed:
        """Give some requests of a scene to the sources that are there.

        Args:
            rng: Generator of which request is whose.
            scene: The requests as they are without arrivals.
            ts_N: Their times, rising.
            world: The known inventory.
        """
        draw_N, slot_N = rng.random(len(ts_N)), rng.integers(0, ITEMS_EACH, len(ts_N))
        number_N = np.full(len(ts_N), KNOWN, np.int64)
        shift_NT = np.zeros((len(ts_N), 4))
        codes = {key: values_N.copy() for key, values_N in scene.codes.items()}
        sources = self.between(int(ts_N[0]), int(ts_N[-1]))
        moments = {ms for each in sources for ms in (each.start_ms, each.end_ms)}
        cuts = np.searchsorted(ts_N, sorted(moments))
        for rows_K in np.split(np.arange(len(ts_N)), cuts):
            self._draw(sources, ts_N, draw_N, rows_K, number_N)
        for source in sources:
            here_N = number_N == source.number
            shift_NT[here_N] = source.quality_T
            base_K = np.array(source.bases)[slot_N[here_N] % len(source.bases)]
            _settle(codes, here_N, source, base_K, world)
        local_N = ts_N + np.array(UTC_OFFSETS)[codes["country"]] * 60_000
        codes["hour"], codes["weekday"] = local_N // 3_600_000 % 24, (local_N // DAY_MS + 3) % 7
        return Placed(Scene(codes, scene.numbers), number_N, slot_N, shift_NT)

    @staticmethod
    def _draw(
        sources: list[Arrived], ts_N: Ints, draw_N: Float64Array, rows_K: Ints, number_N: Ints
    ) -> None:
        """Draw whose the requests ``rows_K`` are, while the same sources are there."""
        if not len(rows_K):
            return
        at = ts_N[rows_K[0]]
        there = [each for each in sources if each.start_ms <= at < each.end_ms]
        shares_S = np.array([each.share for each in there])
        shares_S *= min(1.0, MOST / max(shares_S.sum(), MOST))
        numbers_S = np.array([*(each.number for each in there), KNOWN])
        number_N[rows_K] = numbers_S[
            np.searchsorted(np.cumsum(shares_S), draw_N[rows_K], side="right")
        ]

    def _arrive(self, day: int) -> tuple[Arrived, ...]:
        """The sources that arrive on one day of the stream."""
        shape = self.shape
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, 4, day]))
        count = min(int(rng.poisson(shape.per_day)), PER_DAY)
        begin_S = day + np.sort(rng.random(count))
        stay_S = np.minimum(rng.exponential(shape.stay_days, count), LONGEST * shape.stay_days)
        share_S = shape.share * rng.lognormal(-0.125, 0.5, count)
        quality_ST = self._qualities(rng, count) + self._centre_T
        found = []
        for n in range(count):
            kind = SourceKind(n % len(SourceKind))
            each = ITEMS_EACH if kind is SourceKind.PUBLISHER else 1
            known = CITIES if kind is SourceKind.GEOGRAPHY else ITEMS
            bases = tuple(rng.integers(0, known, each).tolist())
            start_ms = self._start_ms + int(begin_S[n] * DAY_MS)
            end_ms = start_ms + int(stay_S[n] * DAY_MS)
            found.append(
                Arrived(day * PER_DAY + n, kind, start_ms, end_ms, share_S[n], quality_ST[n], bases)
            )
        return tuple(found)

    def _qualities(self, rng: np.random.Generator, count: int) -> Float64Array:
        common_S1, own_ST = rng.normal(size=(count, 1)), rng.normal(size=(count, 4))
        mixed_ST = COMMON * common_S1 + np.sqrt(1 - COMMON**2) * own_ST
        return np.asarray(self.shape.quality * mixed_ST)


def _settle(
    codes: dict[str, Ints],
    here_N: npt.NDArray[np.bool_],
    source: Arrived,
    base_K: Ints,
    world: World,
) -> None:
    """Give the requests ``here_N`` the codes of their source's bases."""
    if source.kind is SourceKind.GEOGRAPHY:
        codes["city"][here_N] = base_K
        tables = world.cities
    else:
        codes["item"][here_N] = base_K
        tables = world.items
    for key, table in tables.items():
        codes[key][here_N] = table[base_K]
    codes["instl"] &= codes["app"]
