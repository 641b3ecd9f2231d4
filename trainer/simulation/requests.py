"""Renders a :class:`Scene` as OpenRTB 2.5 and 2.6 bid requests: compact JSON of 1.3 KB each.

A request contains every code and number that its true probabilities depend on, but not these
probabilities. Its form is independent of them; :data:`FORM_EIGHTHS` gives the shares of the forms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from trainer.simulation import fragments
from trainer.simulation.fragments import Form
from trainer.simulation.world import (
    BANNER,
    FORGOTTEN_S,
    SIZES,
    USER_NUMBERS,
    VIDEO,
    Float64Array,
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
_FLOOR_CURRENCIES = (
    *("", "", "", ""),
    *(f',"bidfloorcur":"{cur}"' for cur in fragments.CURRENCIES[3:7]),
)
FORM_EIGHTHS: Final = (5, 2, 1)
"""Eighths of the requests in each :class:`Form`: 62.5 % OpenRTB 2.6, 25 % 2.5, 12.5 % 2.5 with
strings for lists, lists for strings and banners with ``format`` only. In all forms 60 % are for
banners, 22 % for video and 18 % for native space (``World._space``); one in eight of the items that
are not apps is an out-of-home screen (:data:`fragments.DOOH_EVERY`), as ``dooh`` in 2.6 only."""
_FORMS: Final = tuple(form for form in Form for _ in range(FORM_EIGHTHS[form]))

_REQUEST = (
    '{"id":"%s","imp":[{"id":"1","tagid":"%s",%s%s,"secure":%s,"bidfloor":%s%s'
    '%s}%s],%s,"device":{%s,"connectiontype":%s,"carrier":"c%s"%s%s%s,%s},"user":{%s},"at":%s,"tmax":%s%s,%s,"ext":{"ts":%s}}'
)
_KNOWN = '"id":"u%s"%s%s%s,%s,"data":[{"segment":[%s]}],'
_KEYWORDS = ('"keywords":"%s,level%s"', '"kwarray":["%s","level%s"]', '"keywords":["%s","level%s"]')
_GENDERS = (',"gender":"F"', ',"gender":"M"', "")
_RATES = ("ctr_user", "cvr_user", "cart_rate_user")
_SPARSE = ("clicks_1d", "visits_1d", "carts_7d", "orders_30d", "spend_90d")
_SINCE = tuple(name for name in USER_NUMBERS if name.startswith("sec_since"))
_COUNTS = tuple(name for name in USER_NUMBERS if name not in _RATES + _SPARSE + _SINCE)
_BEHAVIOR = "".join(f',"{name}":%s' for name in _COUNTS + _RATES)
_BEHAVIOR += "%s" * len(_SPARSE + _SINCE)


@dataclass(frozen=True, slots=True)
class Names:
    """Numbers that arrived sources are named by, of N requests; -1 where the known names stay.

    Attributes:
        item_N: Of the site or app.
        publisher_N: Of its publisher.
        city_N: Of city and region, from 0.
    """

    item_N: Ints
    publisher_N: Ints
    city_N: Ints


class _Pieces:
    """Rendered fragments in one form."""

    def __init__(self, world: World, form: Form) -> None:
        self.inventory = [fragments.inventory(world, item, form) for item in range(SIZES["item"])]
        self.regs = [
            fragments.regs(country, i, form)
            for country in range(SIZES["country"])
            for i in range(16)
        ]
        self.banners = [
            fragments.banner(size, pos, i, form)
            for size in range(SIZES["size"])
            for pos in range(SIZES["pos"])
            for i in range(2)
        ]
        self.videos = [fragments.video(i, j, form) for i in range(SIZES["plcmt"]) for j in range(6)]
        self.natives = [fragments.native(i, form) for i in range(2)]
        self.blocks = [fragments.blocks(owner, form) for owner in range(SIZES["publisher"])]


class Renderer:
    """Renders scenes of one world as JSON bytes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pieces = [_Pieces(world, form) for form in Form]
        self._devices = [
            fragments.device(world, model, version)
            for model in range(SIZES["model"])
            for version in range(SIZES["osv"])
        ]
        self._places = [fragments.place(world, city) for city in range(SIZES["city"])]
        self._deals = [fragments.deal(code) for code in range(SIZES["deal"])]
        self._more = [fragments.more_imps(count) for count in range(SIZES["imps"])]

    def render(
        self,
        scene: Scene,
        ids: list[str],
        ts_N: Ints,
        bits_NK: Ints,
        names: Names | None = None,
    ) -> list[bytes]:
        """Render requests in the order of the scene.

        Args:
            scene: Codes and numbers of N requests.
            ids: Request ids.
            ts_N: Time in milliseconds since the epoch, int64 (N,).
            bits_NK: Random bits for fields without effect, int64 (N, 5) in [0, 2**32).
            names: Names of the requests of arrived sources; None without any.
        """
        codes = scene.codes
        a_N, b_N, c_N, d_N, e_N = bits_NK.T
        form_N = np.array(_FORMS, np.int64)[e_N % len(_FORMS)]
        pieces = [self._pieces[form] for form in form_N.tolist()]
        tags = [f"t{i}-{slot}" for i, slot in _rows(codes["item"], a_N % 6)]
        inventory = [p.inventory[n] for p, n in zip(pieces, codes["item"].tolist(), strict=True)]
        places = _pick(self._places, codes["city"])
        if names is not None:
            self._rename(names, codes, form_N, a_N % 6, (tags, inventory, places))
        ifas = [f',"ifa":"{bits:08x}"' if app else "" for bits, app in _rows(c_N, codes["app"])]
        regs_N = codes["country"] * 16 + b_N // 1024 % 16
        columns: tuple[Sequence[object], ...] = (
            ids,
            tags,
            _space(pieces, codes, b_N),
            _flag("instl", codes["instl"] == 1),
            (a_N // 8 % 16 != 0).astype(np.int64).tolist(),
            scene.numbers["bidfloor"].tolist(),
            _pick(_FLOOR_CURRENCIES, a_N // 128 % 8),
            _pick(self._deals, codes["deal"]),
            _pick(self._more, codes["imps"]),
            inventory,
            _pick(self._devices, codes["model"] * SIZES["osv"] + codes["osv"]),
            codes["connection"].tolist(),
            codes["carrier"].tolist(),
            _flag("lmt", b_N // 16 % 8 == 0),
            _flag("dnt", b_N // 128 % 8 == 0),
            ifas,
            places,
            _users(scene, d_N, e_N // 8 % 2, form_N),
            _pick(AT_CODES, codes["exchange"] % len(AT_CODES)),
            _pick(TMAX, codes["exchange"] % len(TMAX)),
            [p.blocks[n] for p, n in zip(pieces, codes["publisher"].tolist(), strict=True)],
            [p.regs[n] for p, n in zip(pieces, regs_N.tolist(), strict=True)],
            np.where(form_N == Form.NEW, ts_N, ts_N // 1000).tolist(),
        )
        return [(_REQUEST % row).encode() for row in zip(*columns, strict=True)]

    def _rename(
        self,
        names: Names,
        codes: dict[str, Ints],
        form_N: Ints,
        slot_N: Ints,
        pieces: tuple[list[str], list[str], list[str]],
    ) -> None:
        """Put the names of arrived sources into tags, inventory and places, in place."""
        tags, inventory, places = pieces
        for row in np.flatnonzero(names.item_N >= 0).tolist():
            item, number = int(codes["item"][row]), int(names.item_N[row])
            owner = int(names.publisher_N[row])
            tags[row] = f"t{number}-{slot_N[row]}"
            inventory[row] = fragments.inventory(
                self._world,
                item,
                Form(form_N[row]),
                number=number,
                publisher=owner if owner >= 0 else None,
            )
        for row in np.flatnonzero(names.city_N >= 0).tolist():
            city, number = int(codes["city"][row]), int(names.city_N[row])
            places[row] = fragments.place(self._world, city, arrived=number)


def _space(pieces: Sequence[_Pieces], codes: dict[str, Ints], bits_N: Ints) -> list[str]:
    banner_N = (codes["size"] * SIZES["pos"] + codes["pos"]) * 2 + bits_N % 2
    video_N = codes["plcmt"] * 6 + bits_N % 6
    number_N = np.choose(codes["format"], (banner_N, video_N, bits_N % 2))
    return [
        (p.banners if kind == BANNER else p.videos if kind == VIDEO else p.natives)[number]
        for p, (kind, number) in zip(pieces, _rows(codes["format"], number_N), strict=True)
    ]


def _users(scene: Scene, bits_N: Ints, new_N: Ints, form_N: Ints) -> list[str]:
    codes, numbers = scene.codes, scene.numbers
    gdpr_N = np.isin(codes["country"], fragments.GDPR).astype(np.int64)
    array_N = np.where(form_N == Form.LOOSE, 2, np.where(form_N == Form.NEW, new_N, 0))
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
            _KEYWORDS[way] % (INTERESTS[interest], level),
            f'{{"id":"i{interest}"}},{{"id":"l{level}"}},{{"id":"n{segment}"}}',
        )
        for user, bits, way, age, gender, interest, level, segment in _rows(
            *(codes["user"], bits_N, array_N, codes["age"], codes["gender"]),
            *(codes["interest"], codes["level"], codes["segment"]),
        )
    ]
    consents = [
        f'"consent":"CP{bits:08x}{bits:08x}",' if g else "" for g, bits in _rows(gdpr_N, bits_N)
    ]
    sites, tags = numbers["ctr_site"].tolist(), numbers["ctr_tag"].tolist()
    return [
        f"{user if here else ''}{'' if old else consent}"
        f'"ext":{{{consent if old else ""}"behavior":{{"ctr_site":{site},"ctr_tag":{tag}'
        f"{behaviour if here else ''}}}}}"
        for here, old, user, consent, site, tag, behaviour in zip(
            codes["known"].tolist(),
            (form_N != Form.NEW).tolist(),
            *(known, consents, sites, tags, behaviours),
            strict=True,
        )
    ]


def _unless(absent: float, name: str, values_N: Float64Array) -> list[str]:
    """Fields that are left out where the number is ``absent``: no events, or too long ago."""
    return [f',"{name}":{value:.15g}' if value != absent else "" for value in values_N.tolist()]


def _flag(name: str, set_N: npt.NDArray[np.bool_]) -> list[str]:
    return [f',"{name}":1' if flag else "" for flag in set_N.tolist()]


def _pick(pieces: Sequence[_Piece], code_N: Ints) -> list[_Piece]:
    return [pieces[code] for code in code_N.tolist()]


def _rows(*columns_N: Ints) -> "zip[tuple[int, ...]]":
    return zip(*(column.tolist() for column in columns_N), strict=True)
