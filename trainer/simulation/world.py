"""The simulated market: inventory, devices, places, and users with their behaviour.

A :class:`World` is a set of tables made once per seed. A :class:`Scene` holds the observable codes
and numbers of a sequence of requests, before they are rendered to JSON. True probabilities depend
on the scene only (``funnel.py``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

DAY_MS = 86_400_000
ITEMS, MODELS, CITIES, USERS = 4000, 400, 600, 200_000
SIZES: dict[str, int] = {
    "item": ITEMS,
    "publisher": 400,
    "category": 24,
    "exchange": 12,
    "app": 2,
    "hops": 3,
    "format": 3,
    "size": 11,
    "pos": 9,
    "plcmt": 5,
    "instl": 2,
    "deal": 41,
    "imps": 3,
    "model": MODELS,
    "make": 24,
    "os": 8,
    "osv": 4,
    "devicetype": 8,
    "tier": 3,
    "city": CITIES,
    "region": 60,
    "country": 8,
    "carrier": 16,
    "connection": 7,
    "hour": 24,
    "weekday": 7,
    "user": USERS,
    "known": 2,
    "gender": 3,
    "age": 8,
    "level": 6,
    "interest": 16,
    "segment": 200,
}
"""Number of values of each code."""

NO_SIZE, NO_POS = 10, 8
"""Codes of requests for video or native space, which have no banner size and position."""
BANNER, VIDEO, NATIVE = 0, 1, 2
COMMON_OS = 3
"""Operating systems below this have most of the traffic; the others are data-poor segments."""
DEVICE_TYPES = ((4, 4, 4, 5), (4, 4, 4, 5), (2, 2, 2, 2), (2, 2, 2, 2), (1, 1, 5, 5), (3, 3, 7, 7))
"""OpenRTB device types by operating system; those not listed use the last row."""
UTC_OFFSETS = (-300, 0, 330, 60, 480, -180, 420, 540)
"""Minutes from UTC by country."""

USER_NUMBERS = (
    "impressions_1d",
    "impressions_7d",
    "impressions_30d",
    "clicks_1d",
    "clicks_7d",
    "clicks_30d",
    "visits_1d",
    "visits_7d",
    "visits_30d",
    "carts_7d",
    "carts_30d",
    "orders_30d",
    "orders_90d",
    "spend_90d",
    "sec_since_impression",
    "sec_since_click",
    "sec_since_visit",
    "sec_since_cart",
    "sec_since_order",
    "ctr_user",
    "cvr_user",
    "cart_rate_user",
    "session_depth",
    "session_s",
    "days_active_30d",
)
"""Numbers that describe the behaviour of known users."""
NUMBERS = (*USER_NUMBERS, "ctr_site", "ctr_tag", "bidfloor")
FORGOTTEN_S = 7_776_000
"""Age in seconds (90 days) above which an event is no longer recorded."""


def zipf(size: int, exponent: float) -> Float64Array:
    """Cumulative Zipf shares of ``size`` ranks, shape (size,)."""
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    return np.asarray(np.cumsum(weights) / weights.sum())


def draw(rng: np.random.Generator, cumulative: Float64Array, count: int) -> Ints:
    """Draw ``count`` codes by cumulative shares, int64 (N,)."""
    return np.minimum(np.searchsorted(cumulative, rng.random(count)), len(cumulative) - 1)


@dataclass(frozen=True, slots=True)
class Scene:
    """Observable codes and numbers of N requests.

    Attributes:
        codes: Codes by key of :data:`SIZES`, int64 (N,), in [0, size).
        numbers: Numbers by name of :data:`NUMBERS`, float64 (N,).
    """

    codes: dict[str, Ints]
    numbers: dict[str, Float64Array]

    def __len__(self) -> int:
        return len(self.codes["item"])

    @property
    def data_poor(self) -> npt.NDArray[np.bool_]:
        """Requests of segments with few requests, where any model has larger errors; (N,)."""
        return self.codes["os"] >= COMMON_OS

    @property
    def ambiguous(self) -> npt.NDArray[np.bool_]:
        """Requests with uninformative features: outcomes are mostly random for any model; (N,)."""
        dim_N = (self.codes["category"] % 6 == 2) & (self.numbers["ctr_tag"] < 0.06)
        return np.asarray(dim_N | (self.codes["plcmt"] == 4))


@dataclass(frozen=True, slots=True)
class Channel:
    """A media channel: a type of devices, with a share of the traffic.

    Attributes:
        devicetype: Its device type, in OpenRTB's numbers.
        systems: Operating systems of its devices.
        share: Its share of the requests.
    """

    devicetype: int
    systems: tuple[int, ...]
    share: float


@dataclass(frozen=True, slots=True)
class WorldShape:
    """What differs between the inventories of markets.

    Attributes:
        item: Zipf exponent of the traffic of items; the smaller, the heavier the tail.
        model: The same of device models.
        city: The same of cities.
        channels: Media channels with sizes of their own; none leaves the device types as drawn.
    """

    item: float = 0.95
    model: float = 0.9
    city: float = 0.9
    channels: tuple[Channel, ...] = ()


class World:
    """Tables of the market of one seed; :meth:`scene` draws requests from them.

    Args:
        seed: Seed of the tables.
        shape: Sizes of what they hold.
        salt: Further entropy, by which markets of one seed differ.
    """

    def __init__(
        self,
        seed: int,
        shape: WorldShape = WorldShape(),
        salt: tuple[int, ...] = (),
    ) -> None:
        rng = np.random.default_rng(np.random.SeedSequence([seed, 1, *salt]))
        self._shares = {
            "item": zipf(ITEMS, shape.item),
            "model": zipf(MODELS, shape.model),
            "city": zipf(CITIES, shape.city),
            "user": zipf(USERS, 0.6),
            "carrier": zipf(SIZES["carrier"], 1.0),
            "deal": zipf(SIZES["deal"] - 1, 1.0),
            "segment": zipf(SIZES["segment"], 0.7),
        }
        self.items: dict[str, Ints] = {
            "publisher": draw(rng, zipf(SIZES["publisher"], 0.8), ITEMS),
            "category": draw(rng, zipf(SIZES["category"], 0.5), ITEMS),
            "app": (rng.random(ITEMS) < 0.6).astype(np.int64),
            "exchange": draw(rng, zipf(SIZES["exchange"], 0.8), ITEMS),
            "hops": rng.choice(3, ITEMS, p=[0.6, 0.3, 0.1]),
        }
        self.ctr_I = rng.beta(2.0, 30.0, ITEMS)
        common_M = rng.choice(COMMON_OS, MODELS, p=[0.55, 0.3, 0.15])
        rare_M = rng.integers(COMMON_OS, SIZES["os"], MODELS)
        os_M = np.where(np.arange(MODELS) % 10 == 9, rare_M, common_M)
        types_OK = np.array([*DEVICE_TYPES, DEVICE_TYPES[-1], DEVICE_TYPES[-1]])
        self.models: dict[str, Ints] = {
            "os": os_M,
            "make": draw(rng, zipf(SIZES["make"], 0.8), MODELS),
            "devicetype": types_OK[os_M, rng.integers(0, 4, MODELS)],
            "tier": rng.choice(SIZES["tier"], MODELS, p=[0.4, 0.4, 0.2]),
        }
        if shape.channels:
            self.models |= _channels(shape.channels, self._shares["model"])
        region_C = rng.integers(0, SIZES["region"], CITIES)
        self.cities: dict[str, Ints] = {"region": region_C, "country": region_C * 7 % 60 // 8}
        self._people(rng)

    def _people(self, rng: np.random.Generator) -> None:
        self.users: dict[str, Ints] = {
            "gender": rng.choice(3, USERS, p=[0.47, 0.41, 0.12]),
            "age": rng.choice(8, USERS, p=[0.15, 0.18, 0.22, 0.18, 0.12, 0.07, 0.05, 0.03]),
            "level": draw(rng, zipf(SIZES["level"], 0.7), USERS),
            "interest": draw(rng, zipf(SIZES["interest"], 0.4), USERS),
        }
        self.home_U = draw(rng, self._shares["city"], USERS)
        self.model_U = draw(rng, self._shares["model"], USERS)
        self.activity_U = rng.lognormal(0.0, 0.8, USERS)
        self.intent_U = rng.lognormal(0.0, 0.8, USERS)

    def scene(self, rng: np.random.Generator, ts_N: Ints) -> Scene:
        """Draw one request per timestamp (milliseconds since the epoch, int64 (N,))."""
        count = len(ts_N)
        item_N = draw(rng, self._shares["item"], count)
        user_N = draw(rng, self._shares["user"], count)
        elsewhere_N = rng.random(count) < 0.1
        city_N = draw(rng, self._shares["city"], count)
        city_N = np.where(elsewhere_N, city_N, self.home_U[user_N])
        other_N = rng.random(count) < 0.15
        model_N = draw(rng, self._shares["model"], count)
        model_N = np.where(other_N, model_N, self.model_U[user_N])
        codes = {
            "item": item_N,
            "user": user_N,
            "city": city_N,
            "model": model_N,
            "known": (rng.random(count) < 0.85).astype(np.int64),
            "osv": rng.choice(4, count, p=[0.45, 0.3, 0.15, 0.1]),
            "carrier": draw(rng, self._shares["carrier"], count),
            "connection": rng.choice(7, count, p=[0.05, 0.05, 0.42, 0.02, 0.06, 0.3, 0.1]),
            "segment": draw(rng, self._shares["segment"], count),
        }
        codes |= {key: table[item_N] for key, table in self.items.items()}
        codes |= {key: table[model_N] for key, table in self.models.items()}
        codes |= {key: table[city_N] for key, table in self.cities.items()}
        codes |= {key: table[user_N] * codes["known"] for key, table in self.users.items()}
        codes |= self._space(rng, codes["app"])
        local_N = ts_N + np.array(UTC_OFFSETS)[codes["country"]] * 60_000
        codes["hour"] = local_N // 3_600_000 % 24
        codes["weekday"] = (local_N // DAY_MS + 3) % 7
        return Scene(codes, self._behaviour(rng, codes))

    def _space(self, rng: np.random.Generator, app_N: Ints) -> dict[str, Ints]:
        count = len(app_N)
        format_N = rng.choice(3, count, p=[0.6, 0.22, 0.18])
        size_N = rng.choice(10, count, p=np.arange(10, 0, -1) / 55.0)
        pos_N = rng.choice(8, count, p=[0.3, 0.28, 0.02, 0.16, 0.1, 0.06, 0.04, 0.04])
        plcmt_N = rng.choice(4, count, p=[0.35, 0.3, 0.2, 0.15]) + 1
        deal_N = draw(rng, self._shares["deal"], count) + 1
        return {
            "format": format_N,
            "size": np.where(format_N == BANNER, size_N, NO_SIZE),
            "pos": np.where(format_N == BANNER, pos_N, NO_POS),
            "plcmt": np.where(format_N == VIDEO, plcmt_N, 0),
            "instl": ((rng.random(count) < 0.15) & (app_N == 1)).astype(np.int64),
            "deal": np.where(rng.random(count) < 0.15, deal_N, 0),
            "imps": rng.choice(3, count, p=[0.9, 0.08, 0.02]),
        }

    def _behaviour(
        self, rng: np.random.Generator, codes: dict[str, Ints]
    ) -> dict[str, Float64Array]:
        user_N, item_N = codes["user"], codes["item"]
        activity_N, intent_N = self.activity_U[user_N], self.intent_U[user_N]
        both_N, count = activity_N * intent_N, len(user_N)

        def events(rate_N: Float64Array) -> Float64Array:
            return rng.poisson(np.minimum(rate_N, 500.0)).astype(np.float64)

        def since(events_N: Float64Array, mean_s_N: Float64Array) -> Float64Array:
            seconds_N = np.floor(np.minimum(rng.exponential(mean_s_N), FORGOTTEN_S))
            return np.where(events_N > 0, seconds_N, FORGOTTEN_S)

        found = {"impressions_1d": events(6 * activity_N), "clicks_1d": events(0.25 * both_N)}
        found["visits_1d"] = events(0.15 * both_N)
        found["carts_7d"], found["orders_30d"] = events(0.3 * intent_N), events(0.25 * intent_N)
        for name, base, rate_N in (
            ("impressions_7d", "impressions_1d", 30 * activity_N),
            ("impressions_30d", "impressions_7d", 110 * activity_N),
            ("clicks_7d", "clicks_1d", 1.2 * both_N),
            ("clicks_30d", "clicks_7d", 4 * both_N),
            ("visits_7d", "visits_1d", 0.7 * both_N),
            ("visits_30d", "visits_7d", 2.5 * both_N),
            ("carts_30d", "carts_7d", 0.9 * intent_N),
            ("orders_90d", "orders_30d", 0.5 * intent_N),
        ):
            found[name] = found[base] + events(rate_N)
        clicks_N, visits_N = found["clicks_30d"], found["visits_30d"]
        found |= {
            "spend_90d": np.round(found["orders_90d"] * rng.lognormal(3.5, 0.8, count), 2),
            "sec_since_impression": since(found["impressions_30d"], 14_000 / activity_N),
            "sec_since_click": since(clicks_N, 200_000 / both_N),
            "sec_since_visit": since(visits_N, 350_000 / both_N),
            "sec_since_cart": since(found["carts_30d"], 1_500_000 / intent_N),
            "sec_since_order": since(found["orders_90d"], 4_000_000 / intent_N),
            "ctr_user": np.round((clicks_N + 1) / (found["impressions_30d"] + 20), 4),
            "cvr_user": np.round((found["orders_30d"] + 0.1) / (clicks_N + 5), 4),
            "cart_rate_user": np.round((found["carts_30d"] + 0.2) / (visits_N + 4), 4),
            "session_depth": 1 + events(3 * activity_N),
            "session_s": np.round(rng.lognormal(4.0, 1.2, count)),
            "days_active_30d": np.minimum(30.0, 1 + events(7 * activity_N)),
            "ctr_site": np.round(self.ctr_I[item_N], 4),
            "ctr_tag": np.round(self.ctr_I[item_N] * rng.lognormal(0.0, 0.5, count), 4),
            "bidfloor": np.round(rng.lognormal(-0.5, 0.7, count) + 0.01, 2),
        }
        return {name: found[name] for name in NUMBERS}


def _channels(channels: tuple[Channel, ...], cumulative_M: Float64Array) -> dict[str, Ints]:
    """Device types and systems of the models, so that each channel has its share of the traffic.

    From the most to the least frequent, a model goes to the channel that lacks most.
    """
    lacking_S = np.array([channel.share for channel in channels])
    chosen_M = np.zeros(len(cumulative_M), np.int64)
    for model, share in enumerate(np.diff(cumulative_M, prepend=0.0)):
        chosen_M[model] = lacking_S.argmax()
        lacking_S[chosen_M[model]] -= share
    of = [channels[number] for number in chosen_M.tolist()]
    return {
        "os": np.array([each.systems[n % len(each.systems)] for n, each in enumerate(of)]),
        "devicetype": np.array([each.devicetype for each in of]),
    }
