"""Pieces of OpenRTB JSON that depend on one table of the simulated market only.

Rendered once per world and pasted into every request by ``requests.py``.
"""

from trainer.traffic.world import NO_POS, NO_SIZE, UTC_OFFSETS, World

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
    """A pronounceable name, another one for every number."""
    letters = ""
    while True:
        letters += _SYLLABLES[number % len(_SYLLABLES)]
        number //= len(_SYLLABLES)
        if number == 0:
            return letters


def inventory(world: World, item: int) -> str:
    """``site`` or ``app``, and the supply chain in ``source``."""
    table = {key: int(codes[item]) for key, codes in world.items.items()}
    publisher, category = table["publisher"], table["category"]
    cats = f'"cat":["IAB{category + 1}","IAB{category + 1}-{item % 5 + 1}"]'
    owner = f'"publisher":{{"id":"p{publisher}"}}'
    if table["app"]:
        place = f'"app":{{"id":"a{item}","bundle":"com.{name(publisher)}.{name(item)}"'
        place += f",{cats},{owner}}}"
    else:
        place = f'"site":{{"id":"s{item}","domain":"{name(item)}.{name(publisher)}.example"'
        place += f',{cats},"mobile":{item % 3 % 2},{owner}'
        place += f',"content":{{"language":"{LANGUAGES[item % 8]}"}}}}'
    nodes = ",".join(
        f'{{"asi":"{name(300 + (table["exchange"] + 5 * hop) % 17)}.example"}}'
        for hop in range(table["hops"] + 1)
    )
    complete = int(publisher % 9 != 0)
    return f'{place},"source":{{"schain":{{"complete":{complete},"nodes":[{nodes}]}}}}'


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


def place(world: World, city: int) -> str:
    """``language`` and ``geo`` of a city."""
    country, region = int(world.cities["country"][city]), int(world.cities["region"][city])
    latitude, longitude = CENTRES[country]
    metro = f',"metro":"{500 + region}"' if country == 0 else ""
    return (
        f'"language":"{LANGUAGES[(country + (city % 5 == 4)) % 8]}",'
        f'"geo":{{"country":"{COUNTRIES[country]}","region":"R{region}"'
        f',"city":"{name(1000 + city).title()}"{metro},"zip":"{10_000 + 37 * city}",'
        f'"lat":{latitude + region % 7 - 3 + city % 10 / 10},'
        f'"lon":{longitude + region % 11 - 5 + city % 10 / 10},'
        f'"utcoffset":{UTC_OFFSETS[country]}}}'
    )


def regs(country: int, variant: int) -> str:
    """``regs`` of a country; one variant in sixteen is under COPPA."""
    code = COUNTRIES[country]
    text = f'"regs":{{"coppa":{int(variant == 15)},"gdpr":{int(country in GDPR)}'
    if code == "USA":
        text += f',"us_privacy":"1Y{"YN"[variant % 2]}N","gpp_sid":[{7 + variant % 3}]'
    return text + "}"


def banner(size: int, pos: int, variant: int) -> str:
    """``banner`` of a size at a position; "" for the codes that mean no banner."""
    if size == NO_SIZE or pos == NO_POS:
        return ""
    width, height = BANNER_SIZES[size]
    shape = f'{{"w":{width},"h":{height}}}'
    if variant:
        other_w, other_h = BANNER_SIZES[(size + 1) % len(BANNER_SIZES)]
        shape += f',{{"w":{other_w},"h":{other_h}}}'
    rich = ',"api":[5,7]' if variant else ',"btype":[4]'
    return f'"banner":{{"w":{width},"h":{height},"format":[{shape}],"pos":{pos}{rich}}}'


def video(placement: int, variant: int) -> str:
    """``video`` of a placement type."""
    longest = (6, 15, 30, 31, 60, 120)[variant]
    protocols = "[2,3,5]" if variant % 2 else "[2,3,7]"
    return (
        f'"video":{{"mimes":["video/mp4"],"minduration":{(1, 3, 5)[variant % 3]},'
        f'"maxduration":{longest},"protocols":{protocols},"plcmt":{placement},'
        f'"linearity":{1 + (variant == 5)},"skip":{variant % 2}}}'
    )


def native(variant: int) -> str:
    """``native`` of one of two versions."""
    return f'"native":{{"ver":"1.{1 + variant}"}}'


def deal(code: int) -> str:
    """``pmp`` of a private deal, or "" for the open auction."""
    if code == 0:
        return ""
    extra = f',{{"id":"d{code + 40}"}}' if code % 4 == 0 else ""
    return f',"pmp":{{"private_auction":{code % 2},"deals":[{{"id":"d{code}"}}{extra}]}}'


def more_imps(count: int) -> str:
    """Further impressions after the first."""
    return "".join(f',{{"id":"{i + 2}","banner":{{"w":300,"h":250}}}}' for i in range(count))


def blocks(publisher: int) -> str:
    """``bcat`` and ``badv`` of a publisher, with the comma before them."""
    cats = ",".join(f'"IAB{25 + i}"' for i in range(publisher % 4))
    advertisers = ",".join(f'"{name(700 + publisher % 50 + i)}.example"' for i in range(2))
    text = f',"bcat":[{cats}]' if cats else ""
    return text + (f',"badv":[{advertisers}]' if publisher % 5 == 1 else "")
