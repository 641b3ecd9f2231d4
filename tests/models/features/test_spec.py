"""Reading of feature specs: what ships, what the hash covers, and what each mistake is told."""

import re
from pathlib import Path

import pytest

from models.features import FeatureSpec, SpecError
from models.features.values import RowMemo

BASE = """schema = "openrtb-2"
[[feature]]
name = "os"
kind = "categorical"
path = "device.os"
size = 16
"""


def feature(name: str = "x", kind: str = "numeric", **keys: str) -> str:
    lines = [f'name = "{name}"', f'kind = "{kind}"', *(f"{k} = {v}" for k, v in keys.items())]
    return BASE + "[[feature]]\n" + "\n".join(lines)


@pytest.mark.parametrize("name", ["openrtb", "jd"])
def test_shipped_specs_tile_columns_and_rows(name: str) -> None:
    """Each feature begins where the one before it ends, in columns and in rows."""
    spec = FeatureSpec.load(name)
    column = offset = 0
    for each in spec.features:
        assert (each.column, each.offset) == (column, offset)
        column, offset = column + each.slots, offset + each.size
    assert (spec.columns, spec.rows) == (column, offset)


def test_the_openrtb_spec_has_108_features_in_under_a_megabyte() -> None:
    """108 features, as the paper's data had, in a table of 8 float32 per row below 1 MB."""
    spec = FeatureSpec.load("openrtb")
    assert len(spec.features) == 108
    assert 20_000 <= spec.rows <= 1_000_000 // (8 * 4)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("user_gender", ["M", "F", "O"]),
        ("device_os", ["iOS", "Android", "Windows", "macOS", "Linux", "tvOS", "Tizen"]),
        ("bidfloorcur", ["USD", "EUR", "GBP", "CNY", "JPY"]),
        ("banner_w", [120, 160, 250, 300, 320, 336, 468, 640, 728, 768, 970, 1080]),
        ("banner_h", [50, 60, 90, 100, 180, 250, 280, 320, 480, 600, 1050, 1920]),
    ],
)
def test_common_values_have_rows_of_their_own(name: str, values: list[str]) -> None:
    """The few values that matter most in small hashed features do not collide."""
    found = next(f for f in FeatureSpec.load("openrtb").features if f.name == name)
    memo = RowMemo(found.name, found.size, found.offset)
    assert len({memo[value] for value in values}) == len(values)


def test_hash_ignores_layout_and_sees_content() -> None:
    """Comments, key order and the way boundaries are written are not content; a size is."""
    scale = feature("w", path='"device.w"', boundaries="[1.0, 10, 100]")
    same = feature("w", log="{ low = 1, high = 100, buckets = 2 }", path='"device.w"')
    spec = FeatureSpec.parse(scale, "a")
    assert FeatureSpec.parse("# a comment\n" + same, "b") == spec
    assert re.fullmatch("[0-9a-f]{32}", spec.hash)
    changes = [
        ("16", "17"),
        ("device.os", "device.osv"),
        ('"os"', '"os2"'),
        ("100]", "101]"),
        ("size = 16", "size = 16\nzeros_missing = true"),
        ('"device.w"', '["device.w", "imp[0].w"]'),
        ('"device.w"', '[{ path = "device.w", plus = 1 }]'),
    ]
    hashes = {FeatureSpec.parse(scale.replace(*change), "c").hash for change in changes}
    assert len(hashes | {spec.hash}) == 8


@pytest.mark.parametrize(
    ("name", "digest"),
    [("openrtb", "eacd349a174177e2b6d72e66512f04f4"), ("jd", "fe7fec759943cb2a718bf2840074eb8c")],
)
def test_shipped_hashes_are_these(name: str, digest: str) -> None:
    """A change of a shipped spec is deliberate: artifacts trained on it no longer fit."""
    assert FeatureSpec.load(name).hash == digest


def test_text_is_the_file_and_parses_to_the_same_spec(tmp_path: Path) -> None:
    """An artifact can carry the very file: its text gives the spec back."""
    file = tmp_path / "own.toml"
    file.write_bytes(BASE.replace("\n", "\r\n").encode())
    spec = FeatureSpec.load(file)
    assert spec.text.encode() == file.read_bytes()
    assert FeatureSpec.parse(spec.text, "copy") == spec == FeatureSpec.load(str(file))


MISTAKES = [
    ("kind =", "spec.toml: not TOML"),
    ("", "spec.toml: feature: at least one"),
    ("feature = 3", "spec.toml: feature: at least one"),
    ("schem = 1\n" + BASE, "spec.toml: schem: unknown key"),
    (BASE.replace("-2", "-9"), "spec.toml: schema: 'openrtb-9' is unknown"),
    (BASE.replace('"os"', '""'), "spec.toml: feature number 1: name"),
    (feature("os", path='"device.w"', boundaries="[1]"), "feature 'os': name: given twice"),
    (feature(kind="hash", path='"id"'), "feature 'x': kind: 'hash' is unknown; the kinds are"),
    (feature(kind="tags", path='"bcat[*]"', size="9", slot="2"), "slot: unknown key; did you mean"),
    (feature(kind="categorical", path='"id"', size="1"), "size: must be an integer of at least 2"),
    (feature(kind="categorical", path='"id"', size="true"), "size: must be an integer"),
    (feature(kind="categorical", path='"id"'), "size: must be an integer"),
    (feature(kind="categorical", size="9"), "path: must be a path"),
    (feature(kind="categorical", path='"imp[0]..w"', size="9"), "path: 'imp[0]..w': '' is not a"),
    (feature(kind="categorical", path='"imp[-1].w"', size="9"), "'imp[-1]' is not a segment"),
    (feature(kind="tags", path='"imp[*].w"', size="9", slots="1", split='","'), "reaches many"),
    (feature(kind="time", path='"imp[*].w"', part='"hour-of-day"'), "reaches many values"),
    (feature(kind="categorical", path='"ext.a{}"', size="9"), "{} stands once, with a name after"),
    (feature(kind="categorical", path='"ext.a{}.b{}.c"', size="9"), "{} stands once"),
    (feature(kind="categorical", path='"ext.a[0]{}.c"', size="9"), "is not a segment"),
    (feature(kind="categorical", path="[]", size="9"), "path: must be a path, or a list of 1 to"),
    (feature(kind="categorical", path='["id", "id"]', size="9"), "path: lists a path twice"),
    (feature(kind="categorical", path='["id", 3]', size="9"), "must be a path such as"),
    (feature(kind="categorical", path='["id", "devise.os"]', size="9"), "did you mean 'device'?"),
    (feature(path='[{ path = "at", plus = 0.5 }]', boundaries="[1]"), "plus = INTEGER"),
    (feature(path='[{ path = "at", add = 5 }]', boundaries="[1]"), "plus = INTEGER"),
    (feature(path='[{ path = "at", plus = 2000000 }]', boundaries="[1]"), "must lie within"),
    (feature(kind="time", path='["$timestamp", "ext.ts"]', part='"hour-of-day"'), "be the last"),
    (feature(path='["at", "$timestamp"]', boundaries="[1]"), "'$timestamp' is not a field"),
    (feature(kind="categorical", path='"id"', size="9", zeros_missing="1"), "true or false"),
    (feature(path='"at"', boundaries="[1]", zeros_missing="true"), "zeros_missing: unknown key"),
    (feature(kind="categorical", path='"imp.tagid"', size="9"), "'imp' is a list"),
    (feature(kind="categorical", path='"site[0].id"', size="9"), "'site' is an object"),
    (feature(kind="categorical", path='"site"', size="9"), "'site' is an object"),
    (feature(kind="categorical", path='"at.x"', size="9"), "'at' is a plain value"),
    (feature(kind="categorical", path='"devise.os"', size="9"), "did you mean 'device'?"),
    (feature(kind="categorical", path='"own.os"', size="9"), "own fields belong under 'ext'"),
    (feature(kind="tags", path='"bcat"', size="9", slots="2"), "path: 'bcat': 'bcat' is a list"),
    (feature(kind="tags", path='"user.keywords"', size="9", slots="2"), "reaches one value"),
    (feature(kind="tags", path='"bcat[*]"', size="9", slots="0"), "slots: must be an integer from"),
    (feature(kind="tags", path='"user.x"', size="9", slots="1", split='""'), "split: must be a"),
    (feature(kind="count", path='"imp[0]"', boundaries="[1]"), "write imp[0][*]"),
    (feature(path='"device.w"'), "boundaries: give exactly one of"),
    (feature(path='"device.w"', boundaries="[1]", log="{}"), "boundaries: give exactly one of"),
    (feature(path='"device.w"', boundaries="[]"), "boundaries: must be a list"),
    (feature(path='"device.w"', boundaries="[1, inf]"), "finite numbers"),
    (feature(path='"device.w"', boundaries="[1, 3, 3]"), "boundaries: must increase"),
    (feature(path='"device.w"', log="{ low = 0, high = 9, buckets = 2 }"), "'low' must be above 0"),
    (feature(path='"device.w"', linear="{ low = 9, high = 0, buckets = 2 }"), "below 'high'"),
    (feature(path='"device.w"', linear="{ low = 0, high = 9, buckets = 0 }"), "'buckets' must"),
    (feature(path='"device.w"', linear="{ low = 0, high = 9 }"), "linear: must be { low ="),
    (feature(kind="time", path='"ext.ts"', part='"minute"'), "part: 'minute' is unknown"),
    (feature(kind="time", path='"ext.ts"', part='"hour-of-day"', utc_offset="8"), "utc_offset:"),
    (feature(kind="cross", of='["os"]', size="9"), "of: must list the names of two or more"),
    (feature(kind="cross", of='["os", "os"]', size="9"), "two or more different features"),
    (feature(kind="cross", of='["os", "later"]', size="9"), "of: 'later' is not a feature above"),
    (feature(kind="cross", of='["os", "x"]', size="9"), "of: 'x' is not a feature above"),
    (feature(kind="categorical", path='"id"', size="2000000"), "size: the features together own"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[told[:50] for _, told in MISTAKES])
def test_each_mistake_is_told_with_its_place(text: str, told: str) -> None:
    """A bad spec is an error that names the file, the feature and the key."""
    with pytest.raises(SpecError, match=re.escape(told)) as caught:
        FeatureSpec.parse(text, "spec.toml")
    assert str(caught.value).startswith("spec.toml: ")


def test_a_cross_of_many_slots_is_refused() -> None:
    """A cross combines single ids; a tag list has several."""
    text = feature("tag", "tags", path='"bcat[*]"', size="9", slots="2")
    text += '\n[[feature]]\nname = "c"\nkind = "cross"\nof = ["os", "tag"]\nsize = 9'
    with pytest.raises(SpecError, match="feature 'c': of: 'tag' has several slots"):
        FeatureSpec.parse(text, "spec.toml")


def test_paths_are_free_without_a_schema() -> None:
    """Without a declared schema a path may begin anywhere."""
    text = BASE.replace('schema = "openrtb-2"', "").replace("device.os", "anything.at[3].all")
    (place,) = FeatureSpec.parse(text, "own").features[0].places
    assert str(place) == "anything.at[3].all"


def test_an_unknown_spec_names_those_that_ship() -> None:
    """A name that is no file and no shipped spec is answered with the names that are."""
    with pytest.raises(SpecError, match=r"nowhere: cannot be read .* one of jd, openrtb"):
        FeatureSpec.load("nowhere")


ODD = [
    "schema = []",
    "schema.a = 1",
    "schema = " + "[" * 5000 + "]" * 5000,
    "schema" + ".a" * 900 + " = 1",
    feature("t", "time", path='"ext.ts"', part="{ a = 1 }"),
    feature("t", "time", path='"ext.ts"', part="[]"),
    feature("w", path='"device.w"', linear="{ low = -1e308, high = 1e308, buckets = 3 }"),
    feature("w", path='"device.w"', log="{ low = 1e-308, high = 1e308, buckets = 3 }"),
    feature("w", path=f'[{{ path = "device.w", plus = {"9" * 400} }}]', boundaries="[1]"),
    feature("w", path='"ext.x[' + "9" * 5000 + ']"', boundaries="[1]"),
    feature("w", path='"device.w"', boundaries="[" + "9" * 400 + "]"),
    feature("c", "categorical", path='"device.w"', size="1" + "0" * 400),
]


@pytest.mark.parametrize("text", ODD)
def test_whatever_a_file_holds_a_spec_error_says_so(text: str) -> None:
    """Tables where texts belong, nesting without end, numbers beyond all bounds."""
    with pytest.raises(SpecError, match=r"odd\.toml"):
        FeatureSpec.parse(text, "odd.toml")
