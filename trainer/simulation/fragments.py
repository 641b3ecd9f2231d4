"""Pieces of OpenRTB JSON that depend on one table of the simulated market only.

They are rendered once per world and form, and inserted into requests by ``requests.py``.
"""

import json
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

from trainer.simulation.world import CITIES, NO_POS, NO_SIZE, SIZES, UTC_OFFSETS, World


class Form(IntEnum):
    """Form of a request; content and true probabilities are independent of it.

    Attributes:
        NEW: OpenRTB 2.6: consent, privacy strings and supply chain in fields of their own,
            ``plcmt`` for video, ``dooh`` for out-of-home screens; times in ms.
        OLD: OpenRTB 2.5: these under ``ext``, ``placement`` for video, ``site`` for out-of-home
            screens; times in s.
        LOOSE: 2.5 as it is often sent: also strings for lists and lists for strings, banners with
            ``format`` only, the version of native in the native request only.
    """

    NEW = 0
    OLD = 1
    LOOSE = 2


REGIONS: Final = SIZES["region"]
DOOH_EVERY: Final = 8
"""One in this many of the items that are not apps is a digital out-of-home screen."""
VIDEO_SIZES = ((640, 360), (640, 480), (1280, 720), (480, 320), (320, 180), (1920, 1080))
PLACEMENTS = (0, 1, 2, 5, 3)
"""``placement`` of OpenRTB 2.5 for each ``plcmt`` of 2.6: the nearest of its codes."""
NATIVE_SIZES = ((1200, 627), (300, 300))

BANNER_SIZES = (
    (320, 50),
    (300, 250),
    (728, 90),
    (320, 480),
    (160, 600),
    (300, 600),
    (970, 250),
    (320, 100),
    (336, 280),
    (468, 60),
)
COUNTRIES = ("USA", "GBR", "IND", "DEU", "CHN", "BRA", "IDN", "JPN")
CURRENCIES = ("USD", "USD", "USD", "USD", "EUR", "GBP", "JPY", "CNY")
LANGUAGES = ("en", "en", "hi", "de", "zh", "pt", "id", "ja")
CENTRES = ((39, -98), (53, -1), (22, 79), (51, 10), (33, 110), (-14, -51), (-2, 117), (36, 138))
GDPR = (1, 3)
"""Countries (as codes) under the GDPR."""
SYSTEMS = ("Android", "iOS", "Windows", "macOS", "KaiOS", "Tizen", "webOS", "Roku")
PLATFORMS = ("Linux; Android", "iPhone; CPU OS", "Windows NT", "Macintosh; OS", "Mobile; KAI",
             "Linux; Tizen", "Web0S; TV", "Roku/DVP")  # fmt: skip
SCREENS = ((360, 800, "2"), (390, 844, "3"), (412, 915, "2.625"), (768, 1024, "1.5"),
           (1366, 768, "1"), (1920, 1080, "1.25"), (2560, 1440, "4"))  # fmt: skip
_SYLLABLES = ("ka", "mo", "ru", "ti", "ne", "so", "la", "vi", "do", "pe", "zu", "ha", "li", "fa")


def name(number: int) -> str:
    """A pronounceable name, different for every number."""
    letters = ""
    while True:
        letters += _SYLLABLES[number % len(_SYLLABLES)]
        number //= len(_SYLLABLES)
        if number == 0:
            return letters


def listed(values: Sequence[str], form: Form) -> str:
    """A list of strings, or one string with commas in the loose form."""
    return _json(",".join(values) if form is Form.LOOSE else list(values))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def inventory(
    world: World,
    item: int,
    form: Form,
    *,
    number: int | None = None,
    publisher: int | None = None,
) -> str:
    """``site``, ``app`` or ``dooh``, and the supply chain in ``source``.

    Args:
        world: The known inventory.
        item: Item whose properties it has.
        form: Form of the request.
        number: Number that it is named by, if not the item's.
        publisher: Number that its publisher is named by, if not the item's.
    """
    table = {key: int(codes[item]) for key, codes in world.items.items()}
    category = table["category"]
    complete = int(table["publisher"] % 9 != 0)
    number = item if number is None else number
    publisher = table["publisher"] if publisher is None else publisher
    cats = f'"cat":{listed((f"IAB{category + 1}", f"IAB{category + 1}-{item % 5 + 1}"), form)}'
    owner = f'"publisher":{{"id":"p{publisher}"}}'
    content = f'"content":{{"language":"{LANGUAGES[item % 8]}"}}'
    if table["app"]:
        place = f'"app":{{"id":"a{number}","bundle":"com.{name(publisher)}.{name(number)}"'
        place += f",{cats},{owner}}}"
    else:
        out_of_home = item % DOOH_EVERY == DOOH_EVERY - 1
        kind = "dooh" if out_of_home and form is Form.NEW else "site"
        mobile = "" if out_of_home else f',"mobile":{item % 3 % 2}'
        if kind == "dooh":
            cats = cats.replace("cat", "venuetype", 1)
        place = f'"{kind}":{{"id":"s{number}","domain":"{name(number)}.{name(publisher)}.example"'
        place += f",{cats}{mobile},{owner},{content}}}"
    nodes = ",".join(
        f'{{"asi":"{name(300 + (table["exchange"] + 5 * hop) % 17)}.example"}}'
        for hop in range(table["hops"] + 1)
    )
    chain = f'"schain":{{"complete":{complete},"nodes":[{nodes}]}}'
    return f'{place},"source":{{{chain if form is Form.NEW else _under_ext(chain)}}}'


def _under_ext(fields: str) -> str:
    return f'"ext":{{{fields}}}'


def device(world: World, model: int, version: int) -> str:
    """The part of ``device`` that follows from its model and version."""
    system = int(world.models["os"][model])
    make = "Apple" if system in (1, 3) else name(200 + int(world.models["make"][model])).title()
    title = f"{name(model).title()} {model}"
    osv = f"{9 + model % 6 + version}.{version}"
    width, height, ratio = SCREENS[(int(world.models["tier"][model]) * 2 + model) % len(SCREENS)]
    kind = int(world.models["devicetype"][model])
    return (
        f'"ua":"Mozilla/5.0 ({PLATFORMS[system]} {osv}; {title}) Chrome/{118 + version}.0",'
        f'"devicetype":{kind},"make":"{make}","model":"{title}","os":"{SYSTEMS[system]}",'
        f'"osv":"{osv}","w":{width},"h":{height},"pxratio":{ratio}'
    )


def place(world: World, city: int, *, arrived: int | None = None) -> str:
    """``language`` and ``geo`` of a city.

    Args:
        world: The known places.
        city: City whose properties it has.
        arrived: Number that city and region are named by, if not their own.
    """
    country, region = int(world.cities["country"][city]), int(world.cities["region"][city])
    latitude, longitude = CENTRES[country]
    town, area = (city, region) if arrived is None else (CITIES + arrived, REGIONS + arrived)
    metro = f',"metro":"{500 + area}"' if country == 0 else ""
    return (
        f'"language":"{LANGUAGES[(country + (city % 5 == 4)) % 8]}",'
        f'"geo":{{"country":"{COUNTRIES[country]}","region":"R{area}"'
        f',"city":"{name(1000 + town).title()}"{metro},"zip":"{10_000 + 37 * town}",'
        f'"lat":{latitude + region % 7 - 3 + city % 10 / 10},'
        f'"lon":{longitude + region % 11 - 5 + city % 10 / 10},'
        f'"utcoffset":{UTC_OFFSETS[country]}}}'
    )


def regs(country: int, variant: int, form: Form) -> str:
    """``regs`` of a country; one variant in sixteen is under COPPA."""
    code = COUNTRIES[country]
    rules = f'"gdpr":{int(country in GDPR)}'
    if code == "USA":
        section = 7 + variant % 3
        sections = f'"{section}"' if form is Form.LOOSE else f"[{section}]"
        rules += f',"us_privacy":"1Y{"YN"[variant % 2]}N","gpp_sid":{sections}'
    rules = rules if form is Form.NEW else _under_ext(rules)
    return f'"regs":{{"coppa":{int(variant == 15)},{rules}}}'


def banner(size: int, pos: int, variant: int, form: Form) -> str:
    """``banner`` of a size at a position; "" for the codes that mean no banner."""
    if size == NO_SIZE or pos == NO_POS:
        return ""
    width, height = BANNER_SIZES[size]
    shape = f'{{"w":{width},"h":{height}}}'
    if variant:
        other_w, other_h = BANNER_SIZES[(size + 1) % len(BANNER_SIZES)]
        shape += f',{{"w":{other_w},"h":{other_h}}}'
    rich = ',"api":[5,7]' if variant else ',"btype":[4]'
    own = "" if form is Form.LOOSE else f'"w":{width},"h":{height},'
    return f'"banner":{{{own}"format":[{shape}],"pos":{pos}{rich}}}'


def video(plcmt: int, variant: int, form: Form) -> str:
    """``video`` of a placement type."""
    width, height = VIDEO_SIZES[variant]
    place = f'"plcmt":{plcmt}' if form is Form.NEW else f'"placement":{PLACEMENTS[plcmt]}'
    longest = (6, 15, 30, 31, 60, 120)[variant]
    protocols = "[2,3,5]" if variant % 2 else "[2,3,7]"
    return (
        f'"video":{{"mimes":["video/mp4"],"minduration":{(1, 3, 5)[variant % 3]},'
        f'"maxduration":{longest},"protocols":{protocols},{place},"w":{width},"h":{height},'
        f'"linearity":{1 + (variant == 5)},"skip":{variant % 2}}}'
    )


def native(variant: int, form: Form) -> str:
    """``native`` of one of two versions, with the native request as a text."""
    width, height = NATIVE_SIZES[variant]
    version, image = f"1.{1 + variant}", {"type": 3, "w": width, "h": height}
    request = _json({"ver": version, "assets": [{"id": 1, "img": image}]})
    outside = "" if form is Form.LOOSE else f',"ver":"{version}"'
    return f'"native":{{"request":{_json(request)}{outside}}}'


def deal(code: int) -> str:
    """``pmp`` of a private deal, or "" for the open auction."""
    if code == 0:
        return ""
    extra = f',{{"id":"d{code + 40}"}}' if code % 4 == 0 else ""
    return f',"pmp":{{"private_auction":{code % 2},"deals":[{{"id":"d{code}"}}{extra}]}}'


def more_imps(count: int) -> str:
    """Further impressions after the first."""
    return "".join(f',{{"id":"{i + 2}","banner":{{"w":300,"h":250}}}}' for i in range(count))


def blocks(publisher: int, form: Form) -> str:
    """``cur``, ``bcat`` and ``badv`` of a publisher, with the comma before them."""
    text = f',"cur":{listed((CURRENCIES[publisher % len(CURRENCIES)],), form)}'
    if publisher % 4:
        text += f',"bcat":{listed([f"IAB{25 + i}" for i in range(publisher % 4)], form)}'
    if publisher % 5 == 1:
        advertisers = [f"{name(700 + publisher % 50 + i)}.example" for i in range(2)]
        text += f',"badv":{listed(advertisers, form)}'
    return text
