"""Renders a :class:`Scene` as OpenRTB 2.6 bid requests: compact JSON of about 1.3 KB each.

Every code and number that a request's worth depends on is in the request, so the truth is a
function of what a model can see; the truth itself is not.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from trainer.traffic import fragments
from trainer.traffic.world import (
    BANNER,
    FORGOTTEN_S,
    SIZES,
    USER_NUMBERS,
    VIDEO,
    Floats,
    Ints,
    Scene,
    World,
)

_Piece = TypeVar("_Piece")

INTERESTS = (
    "phones", "fashion", "travel", "garden", "cars", "baby", "books", "sports",
    "beauty", "gaming", "kitchen", "pets", "home", "office", "health", "grocery",
)  # fmt: skip
AT_CODES = (1, 1, 2, 1, 3)
TMAX = (100, 120, 80, 150, 200, 250, 300, 500, 1000, 60)
CURRENCIES = ("USD", "USD", "USD", "USD", "EUR", "GBP", "JPY", "CNY")
_FLOOR_CURRENCIES = ("", "", "", "", *(f',"bidfloorcur":"{cur}"' for cur in CURRENCIES[3:7]))

_REQUEST = (
    '{"id":"%s","imp":[{"id":"1","tagid":"%s",%s%s,"secure":%s,"bidfloor":%s%s'
    '%s}%s],%s,"device":{%s,"connectiontype":%s,"carrier":"c%s"%s%s%s,%s},"user":{%s},"at":%s,"tmax":%s,"cur":["%s"]%s,%s,"ext":{"ts":%s}}'
)
_KNOWN = '"id":"u%s"%s%s%s,"keywords":"%s","data":[{"segment":[%s]}],'
_GENDERS = (',"gender":"F"', ',"gender":"M"', "")
_RATES = ("ctr_user", "cvr_user", "cart_rate_user")
_SPARSE = ("clicks_1d", "visits_1d", "carts_7d", "orders_30d", "spend_90d")
_SINCE = tuple(name for name in USER_NUMBERS if name.startswith("sec_since"))
_COUNTS = tuple(name for name in USER_NUMBERS if name not in _RATES + _SPARSE + _SINCE)
_BEHAVIOR = "".join(f',"{name}":%s' for name in _COUNTS + _RATES)
_BEHAVIOR += "%s" * len(_SPARSE + _SINCE)


class Renderer:
    """Turns scenes of one world into bytes."""

    def __init__(self, world: World) -> None:
        self._inventory = [fragments.inventory(world, item) for item in range(SIZES["item"])]
        self._devices = [
            fragments.device(world, model, version)
            for model in range(SIZES["model"])
            for version in range(SIZES["osv"])
        ]
        self._places = [fragments.place(world, city) for city in range(SIZES["city"])]
        self._regs = [
            fragments.regs(country, i) for country in range(SIZES["country"]) for i in range(16)
        ]
        self._banners = [
            fragments.banner(size, pos, i)
            for size in range(SIZES["size"])
            for pos in range(SIZES["pos"])
            for i in range(2)
        ]
        self._videos = [fragments.video(i, j) for i in range(SIZES["plcmt"]) for j in range(6)]
        self._natives = [fragments.native(i) for i in range(2)]
        self._deals = [fragments.deal(code) for code in range(SIZES["deal"])]
        self._more = [fragments.more_imps(count) for count in range(SIZES["imps"])]
        self._blocks = [fragments.blocks(owner) for owner in range(SIZES["publisher"])]

    def render(self, scene: Scene, ids: list[str], ts_N: Ints, bits_NK: Ints) -> list[bytes]:
        """Requests in the order of the scene.

        Args:
            scene: What is on offer, N requests.
            ids: Request ids.
            ts_N: Time in milliseconds since the epoch, int64 (N,).
            bits_NK: Random bits that mean nothing, int64 (N, 4) in [0, 2**32).
        """
        codes = scene.codes
        a_N, b_N, c_N, d_N = bits_NK.T
        tags = [f"t{i}-{slot}" for i, slot in _rows(codes["item"], a_N % 6)]
        ifas = [f',"ifa":"{bits:08x}"' if app else "" for bits, app in _rows(c_N, codes["app"])]
        columns: tuple[Sequence[object], ...] = (
            ids,
            tags,
            self._space(codes, b_N),
            _flag("instl", codes["instl"] == 1),
            (a_N // 8 % 16 != 0).astype(np.int64).tolist(),
            scene.numbers["bidfloor"].tolist(),
            _pick(_FLOOR_CURRENCIES, a_N // 128 % 8),
            _pick(self._deals, codes["deal"]),
            _pick(self._more, codes["imps"]),
            _pick(self._inventory, codes["item"]),
            _pick(self._devices, codes["model"] * SIZES["osv"] + codes["osv"]),
            codes["connection"].tolist(),
            codes["carrier"].tolist(),
            _flag("lmt", b_N // 16 % 8 == 0),
            _flag("dnt", b_N // 128 % 8 == 0),
            ifas,
            _pick(self._places, codes["city"]),
            self._users(scene, d_N),
            _pick(AT_CODES, codes["exchange"] % len(AT_CODES)),
            _pick(TMAX, codes["exchange"] % len(TMAX)),
            _pick(CURRENCIES, codes["publisher"] % len(CURRENCIES)),
            _pick(self._blocks, codes["publisher"]),
            _pick(self._regs, codes["country"] * 16 + b_N // 1024 % 16),
            ts_N.tolist(),
        )
        return [(_REQUEST % row).encode() for row in zip(*columns, strict=True)]

    def _space(self, codes: dict[str, Ints], bits_N: Ints) -> list[str]:
        banners = _pick(
            self._banners, (codes["size"] * SIZES["pos"] + codes["pos"]) * 2 + bits_N % 2
        )
        videos = _pick(self._videos, codes["plcmt"] * 6 + bits_N % 6)
        natives = _pick(self._natives, bits_N % 2)
        kinds = codes["format"].tolist()
        return [
            banner if kind == BANNER else video if kind == VIDEO else native
            for kind, banner, video, native in zip(kinds, banners, videos, natives, strict=True)
        ]

    def _users(self, scene: Scene, bits_N: Ints) -> list[str]:
        codes, numbers = scene.codes, scene.numbers
        gdpr_N = np.isin(codes["country"], fragments.GDPR).astype(np.int64)
        parts = [numbers[name].astype(np.int64).tolist() for name in _COUNTS]
        parts += [numbers[name].tolist() for name in _RATES]
        parts += [_unless(0, name, numbers[name]) for name in _SPARSE]
        parts += [_unless(FORGOTTEN_S, name, numbers[name]) for name in _SINCE]
        behaviours = [_BEHAVIOR % row for row in zip(*parts, strict=True)]
        known = [
            _KNOWN
            % (
                f"{user:x}",
                f',"buyeruid":"b{user * 2654435761 % 2**32:08x}"' if bits % 4 else "",
                f',"yob":{1938 + 9 * age - user % 7}' if age else "",
                _GENDERS[gender],
                f"{INTERESTS[interest]},level{level}",
                f'{{"id":"i{interest}"}},{{"id":"l{level}"}},{{"id":"n{segment}"}}',
            )
            for user, bits, age, gender, interest, level, segment in _rows(
                *(codes["user"], bits_N, codes["age"], codes["gender"]),
                *(codes["interest"], codes["level"], codes["segment"]),
            )
        ]
        consents = [
            f'"consent":"CP{bits:08x}{bits:08x}",' if g else "" for g, bits in _rows(gdpr_N, bits_N)
        ]
        sites, tags = numbers["ctr_site"].tolist(), numbers["ctr_tag"].tolist()
        return [
            f'{user if here else ""}{consent}"ext":{{"behavior":{{"ctr_site":{site},"ctr_tag":{tag}'
            f"{behaviour if here else ''}}}}}"
            for here, user, consent, site, tag, behaviour in zip(
                codes["known"].tolist(), known, consents, sites, tags, behaviours, strict=True
            )
        ]


def _unless(absent: float, name: str, values_N: Floats) -> list[str]:
    """A number that is left out where it says nothing: no events, or none remembered."""
    return [f',"{name}":{value:.15g}' if value != absent else "" for value in values_N.tolist()]


def _flag(name: str, set_N: npt.NDArray[np.bool_]) -> list[str]:
    return [f',"{name}":1' if flag else "" for flag in set_N.tolist()]


def _pick(pieces: Sequence[_Piece], code_N: Ints) -> list[_Piece]:
    return [pieces[code] for code in code_N.tolist()]


def _rows(*columns_N: Ints) -> "zip[tuple[int, ...]]":
    return zip(*(column.tolist() for column in columns_N), strict=True)
