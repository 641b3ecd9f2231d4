"""Requests as exchanges write them: the same values from wherever, and in whatever form, they come.

The inputs in ``../shared/faults/events`` stand for kinds; more of each kind are made here.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from benchmarks.filled import FILE, filled
from models.features import Extractor
from models.features.intake import ingest
from models.features.scanner import NATIVE
from models.features.values import RowMemo
from tests.models.features.arbitrary import SPECS

MAX = 1 << 20
EVENTS = (
    Path(os.environ.get("WEIR_SHARED", Path(__file__).resolve().parents[4].parent / "shared"))
    / "faults/events"
)
SPEC = SPECS["openrtb"]
FEATURES = {feature.name: feature for feature in SPEC.features}
WAYS = [False, pytest.param(True, marks=pytest.mark.skipif(not NATIVE, reason="_scan not built"))]
NOON = 1_767_268_800
"""2026-01-01 12:00 UTC in seconds, a Thursday."""


def rows(value: bytes | dict[str, Any], *, native: bool, at: int = -1) -> dict[str, list[int]]:
    """What each feature that is not missing reads, as rows of its own."""
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    taken = ingest(Extractor(SPEC.features, native=native), [raw], np.array([at]), MAX)
    assert not taken.rejects, taken.rejects[0][1].message
    ids_C = taken.ids_NC[0]
    found = {
        name: (ids_C[f.column : f.column + f.slots] - f.offset).tolist()
        for name, f in FEATURES.items()
    }
    return {name: ids for name, ids in found.items() if any(ids)}


def hashed(name: str, *texts: str) -> list[int]:
    """The rows of texts in a categorical or tags feature."""
    feature = FEATURES[name]
    memo = RowMemo(name, feature.size, 0)
    return ([memo.row_of(text) for text in texts] + [0] * feature.slots)[: feature.slots]


RIGHT: dict[str, dict[str, list[int]]] = {
    "01_openrtb25_ext_places.json": {
        "schain_complete": [2],
        "schain_length": [1],
        "schain_asi": hashed("schain_asi", "ssp.example"),
        "user_consent": [1],
        "regs_gdpr": [2],
        "regs_us_privacy": hashed("regs_us_privacy", "1YNN"),
        "regs_gpp_sid": hashed("regs_gpp_sid", "7"),
    },
    "02_banner_format_only.json": {
        "banner_w": hashed("banner_w", "300"),
        "banner_h": hashed("banner_h", "250"),
        "banner_format_w": hashed("banner_format_w", "300"),
        "banner_format_h": hashed("banner_format_h", "250"),
    },
    "03_video_only.json": {
        "banner_w": hashed("banner_w", "640"),
        "banner_h": hashed("banner_h", "360"),
        "banner_pos": [2],
        "banner_api": hashed("banner_api", "2"),
        "video_plcmt": [5],
    },
    "06_ext_ts_seconds.json": {"hour": [13], "weekday": [4]},
    "07_user_empty_list.json": {"site_id": hashed("site_id", "s1")},
    "08_keywords_list_cat_text_cur_text.json": {
        "user_keywords": hashed("user_keywords", "sports", "cars"),
        "site_cat": hashed("site_cat", "IAB1"),
        "currency": hashed("currency", "USD"),
        "bcat_count": [1],
        "regs_gpp_sid": hashed("regs_gpp_sid", "7"),
    },
    "09_lone_surrogate_in_title.json": {"site_id": hashed("site_id", "s1")},
    "11_ifa_zeros.json": {"device_os": hashed("device_os", "iOS"), "device_lmt": [2]},
    "14_user_geo_only.json": {"geo_country": hashed("geo_country", "DEU")},
}
BESIDE: dict[str, set[str]] = {
    "02_banner_format_only.json": {"site_domain", "banner_size", "domain_size"},
    "03_video_only.json": {"app_bundle", "banner_size", "bundle_size"},
    "06_ext_ts_seconds.json": {"geo_country", "country_hour"},
    "14_user_geo_only.json": {"geo_lat", "geo_lon"},
}
"""Features that are filled as well."""


@pytest.mark.skipif(not EVENTS.is_dir(), reason="inputs absent: set WEIR_SHARED")
@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize("file", RIGHT)
def test_each_known_input_gives_what_is_right(file: str, native: bool) -> None:
    """The listed features have the right rows, and nothing else is filled."""
    found = rows((EVENTS / file).read_bytes().strip(), native=native)
    assert {name: found.get(name) for name in RIGHT[file]} == RIGHT[file]
    assert found.keys() == RIGHT[file].keys() | BESIDE.get(file, set()) | {"imp_count"}


def request(**parts: Any) -> dict[str, Any]:
    return {"id": "r", "imp": [{"id": "1"}], **parts}


def imp(*imps: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return request(imp=list(imps), **parts)


NATIVE_REQUEST = '{"ver":"1.2","assets":[{"title":{}},{"img":{"type":3,"w":1200,"h":627}}]}'
SAME: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("user_consent", request(user={"consent": "x"}), request(user={"ext": {"consent": "x"}})),
    ("regs_gdpr", request(regs={"gdpr": 1}), request(regs={"gdpr": None, "ext": {"gdpr": "1"}})),
    ("regs_gdpr", request(regs={"gdpr": 0}), request(regs={"gdpr": 0, "ext": {"gdpr": 1}})),
    (
        "regs_gpp_sid",
        request(regs={"gpp_sid": [7]}),
        request(regs={"gpp_sid": [], "ext": {"gpp_sid": "7"}}),
    ),
    ("site_cat", request(site={"cat": ["a", "b"]}), request(site={"cat": " a ,,b,c"})),
    ("site_cat", request(site={"cat": ["7"]}), request(site={"cat": 7})),
    ("site_cat", request(site={"cat": ["a"]}), request(site={"cat": [], "pagecat": ["a"]})),
    (
        "user_keywords",
        request(user={"keywords": "a,b,c"}),
        request(user={"keywords": ["a,b", " c "]}),
    ),
    (
        "user_keywords",
        request(user={"keywords": "a,b"}),
        request(user={"kwarray": ["a", None, "b"]}),
    ),
    ("currency", request(cur=["EUR"]), request(cur="EUR")),
    ("currency", request(cur=["EUR", "USD"]), request(cur="EUR,USD")),
    ("bcat_count", request(bcat=["a", "b"]), request(bcat="a, b,")),
    ("badv_count", request(badv=["7"]), request(badv=7)),
    (
        "banner_w",
        imp({"banner": {"w": 300}}),
        imp({"banner": {"format": [{"w": 300}, {"w": 728}]}}),
    ),
    ("banner_w", imp({"banner": {"w": 640}}), imp({"banner": {"format": []}, "video": {"w": 640}})),
    ("banner_w", imp({"banner": {"w": 1200}}), imp({"native": {"request": NATIVE_REQUEST}})),
    (
        "banner_h",
        imp({"banner": {"h": 627}}),
        imp({"native": {"request": orjson.loads(NATIVE_REQUEST)}}),
    ),
    ("native_ver", imp({"native": {"ver": "1.2"}}), imp({"native": {"request": NATIVE_REQUEST}})),
    ("banner_api", imp({"banner": {"api": [5]}}), imp({"audio": {"api": "5"}})),
    ("banner_api", imp({"banner": {"api": [5]}}), imp({"native": {"api": [5]}})),
    ("video_maxduration", imp({"video": {"maxduration": 30}}), imp({"audio": {"maxduration": 30}})),
    ("video_protocols", imp({"video": {"protocols": [2]}}), imp({"video": {"protocol": 2}})),
    (
        "bidfloor",
        imp({"bidfloor": 2.5}),
        imp({"bidfloor": None}, {"bidfloor": "2.5"}, {"bidfloor": 9}),
    ),
    ("bidfloor", imp({"bidfloor": 2.5}), imp({"pmp": {"deals": [{}, {"bidfloor": 2.5}]}})),
    ("bidfloorcur", imp({"bidfloorcur": "EUR"}), imp({}, {"bidfloorcur": "EUR"})),
    ("site_id", request(site={"id": "x"}), request(dooh={"id": "x"})),
    ("site_domain", request(site={"domain": "x"}), request(dooh={"domain": "x"})),
    ("site_cat", request(site={"cat": ["airport"]}), request(dooh={"venuetype": ["airport"]})),
    (
        "site_publisher",
        request(site={"publisher": {"id": "p"}}),
        request(dooh={"publisher": {"id": "p"}}),
    ),
    ("app_bundle", request(app={"bundle": "b"}), request(app={"bundle": "", "id": "b"})),
    (
        "geo_city",
        request(device={"geo": {"city": "x"}}),
        request(device={"geo": []}, user={"geo": {"city": "x"}}),
    ),
    (
        "device_os",
        request(device={"os": "Android"}),
        request(device={"sua": {"platform": {"brand": "Android"}}}),
    ),
    (
        "device_osv",
        request(device={"osv": "14"}),
        request(device={"sua": {"platform": {"version": ["14", "0"]}}}),
    ),
    (
        "user_id",
        request(user={"id": "x"}),
        request(user={"id": "0-0", "eids": [{"uids": [{"id": "00"}, {"id": "x"}]}]}),
    ),
    (
        "user_id",
        request(user={"id": "x"}),
        request(user={"ext": {"eids": [{"uids": [{"id": "x"}]}]}}),
    ),
]


@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize(("name", "one", "other"), SAME, ids=[name for name, _, _ in SAME])
def test_one_value_in_two_places_is_one_row(
    name: str, one: dict[str, Any], other: dict[str, Any], native: bool
) -> None:
    """What is said in the first place, and in its form, is read alike in any other."""
    found = rows(one, native=native)[name]
    assert found == rows(other, native=native)[name]


@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize("value", ["0", "00000000-0000-0000-0000-000000000000", "", "-", 0, "0-00"])
@pytest.mark.parametrize("name", ["device.ifa", "user.id", "user.buyeruid"])
def test_an_id_of_zeros_is_none(name: str, value: Any, native: bool) -> None:
    """Phones send zeros for an id that is withheld; anything else in it is an id."""
    parent, field = name.split(".")
    feature = name.replace(".", "_")
    assert feature not in rows(request(**{parent: {field: value}}), native=native)
    assert rows(request(**{parent: {field: f"{value}1"}}), native=native)[feature]


@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize("unit", [1, 1000, 10**6, 10**9])
def test_units_of_time_are_told_apart(unit: int, native: bool) -> None:
    """Seconds, ms, us and ns give the same hour, of the request and of its record."""
    for said in (NOON * unit, str(NOON * unit), NOON * unit + 0.5):
        found = rows(request(ext={"ts": said}), native=native, at=5)
        assert (found["hour"], found["weekday"]) == ([13], [4])
    found = rows(request(), native=native, at=NOON * unit)
    assert (found["hour"], found["weekday"]) == ([13], [4])


@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize(
    "said",
    [0, -1, 2**63, -(2**63), 2**64, 10**11, 946_684_799, 1e300, "nan", "soon", None, [], True],
)
def test_what_is_no_time_leaves_it_to_the_record(said: Any, native: bool) -> None:
    """A time before 2000 or after 2100 in every unit is none; nor is that of a record without."""
    raw = b'{"id":"r","imp":[{}],"ext":{"ts":%b}}' % str(said).encode()
    raw = orjson.dumps(request(ext={"ts": said})) if not isinstance(said, int) else raw
    raw = raw.replace(b"True", b"true")
    for at in (-1, 0, 2**63 - 1, -(2**63)):
        assert "hour" not in rows(raw, native=native, at=at)
    assert rows(raw, native=native, at=NOON * 1000)["hour"] == [13]


@pytest.mark.parametrize("native", WAYS)
def test_an_absurd_offset_is_none(native: bool) -> None:
    """An offset of more than a day leaves it to the next place, and then to UTC."""
    for minutes, hour in ((60, 14), (-720, 1), (1441, 13), (1e300, 13), ("inf", 13)):
        device = {"geo": {"utcoffset": minutes}}
        found = rows(request(device=device), native=native, at=NOON * 1000)
        assert found["hour"] == [hour]
    both = request(device=device, user={"geo": {"utcoffset": 120}})
    assert rows(both, native=native, at=NOON * 1000)["hour"] == [15]


@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_placement_and_plcmt_are_different_codes(kind: int, native: bool) -> None:
    """Each code of either has a row of its own, and ``plcmt`` goes before ``placement``."""
    placed = rows(imp({"video": {"placement": kind}}), native=native)["video_plcmt"]
    assert placed == [4 + kind]
    both = {"video": {"placement": kind, "plcmt": min(kind, 4)}}
    assert rows(imp(both), native=native)["video_plcmt"] == [min(kind, 4)]


@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize("name", ["site", "app", "dooh", "device", "user", "regs", "source", "ext"])
@pytest.mark.parametrize("value", [[], "", "none", 0, False, [{}]])
def test_what_is_no_object_is_absent(name: str, value: Any, native: bool) -> None:
    """In the place of an object anything else is as if it were not there."""
    assert rows(request(**{name: value}), native=native).keys() == {"imp_count"}


@pytest.mark.parametrize("native", WAYS)
def test_half_an_emoji_is_read_as_one_unknown_character(native: bool) -> None:
    """Where a feature reads it, it counts as U+FFFD; elsewhere it does not matter."""
    raw = b'{"id":"r","imp":[{}],"device":{"os":"%b"},"x":{"\\ud83d":"\\ude00"}}'
    halved, replaced = (rows(raw % text, native=native) for text in (rb"a\ud83d", rb"a\ufffd"))
    assert halved == replaced
    assert halved.keys() == {"imp_count", "device_os"}


@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize(
    "said",
    ["", "x", "{", "{}", "[]", "[1]", "1e999", '{"ver":1}x', '{"ver":{"ver":1}}', "{a}", '"{}"'],
)
def test_what_is_no_native_request_has_no_fields(said: str, native: bool) -> None:
    """A text that is no JSON object, or one without the fields, fills nothing."""
    found = rows(imp({"native": {"request": said}}), native=native)
    assert found.keys() == {"imp_count"}


def test_features_with_several_places_keep_to_one() -> None:
    """Slots of one place are never filled up from the next one."""
    both = request(site={"cat": ["a"], "pagecat": ["b", "c"]})
    assert rows(both, native=False)["site_cat"] == hashed("site_cat", "a")


BEFORE = {
    "all": 6.62 / 108,
    "Supply": 0.99 / 12,
    "Impression": 3.38 / 23,
    "Geography": 0.07 / 8,
    "User": 0.28 / 7,
    "Regulation": 0.32 / 9,
    "Crosses": 0.33 / 5,
}
"""Shares that were filled when every feature had one place."""


@pytest.mark.skipif(not FILE.is_file(), reason="real requests absent: set WEIR_SHARED")
def test_published_requests_fill_more_features() -> None:
    """Of 3,400 published requests, every group is filled more than from single places."""
    found = filled(SPEC, FILE)
    assert all(found[group] > share * 1.1 for group, share in BEFORE.items()), found
    assert found["all"] > 1.4 * BEFORE["all"]
