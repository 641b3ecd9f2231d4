import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact import ArtifactError, ArtifactFault, load_artifact, write_artifact
from models.artifact.manifest import Manifest, sha256
from models.bounds import (
    MAX_MANIFEST_BYTES,
    MAX_OTHER_FILE_BYTES,
    MAX_SPEC_BYTES,
    MAX_STUDENT_BYTES,
)
from tests.tiny_artifact import tiny_manifest

Make = Callable[..., Path]


def fault(folder: Path | str, expected: str | None = None) -> ArtifactFault:
    with pytest.raises(ArtifactError) as caught:
        load_artifact(folder, expected)
    assert str(folder).removeprefix("pretrained:") in caught.value.message
    return caught.value.code


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_model(folder: Path, model: bytes) -> None:
    """Put another model in, with a manifest that vouches for it."""
    (folder / "student.onnx").write_bytes(model)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {"student.onnx": sha256(model)})


def test_what_was_written_is_what_is_loaded(make_artifact: Make) -> None:
    """A valid folder gives its manifest, spec, tasks and model, whatever the form of the URL."""
    folder = make_artifact()
    for url in (folder, str(folder), f"{folder}/", f"file://{folder}"):
        artifact = load_artifact(url)
        assert artifact.manifest.version == "v1"
        assert artifact.tasks.names == ("click", "online")
        assert artifact.tasks["online"].population == "click"
        assert (artifact.spec.columns, artifact.spec.rows) == (3, 24)
        assert artifact.onnx == (folder / "student.onnx").read_bytes()
        assert artifact.manifest_sha256 == sha256((folder / "manifest.json").read_bytes())


def test_manifest_survives_its_bytes(make_artifact: Make) -> None:
    """A manifest read from its own bytes is equal to it."""
    manifest = load_artifact(make_artifact()).manifest
    assert Manifest.model_validate_json(manifest.to_bytes()) == manifest


@pytest.mark.parametrize("name", ["manifest.json", "student.onnx", "features.toml", "card.html"])
def test_a_missing_file_is_named(make_artifact: Make, name: str) -> None:
    """Every listed file must be there."""
    folder = make_artifact()
    (folder / name).unlink()
    assert fault(folder) == ArtifactFault.MISSING_FILE


def test_every_flipped_bit_is_found(make_artifact: Make) -> None:
    """With the announced hash, no bit of any file can be another one, the manifest's included."""
    folder = make_artifact()
    announced = load_artifact(folder).manifest_sha256
    flips = 0
    for path in sorted(folder.iterdir()):
        right = path.read_bytes()
        for bit in range(0, 8 * len(right), max(1, 8 * len(right) // 150)):
            content = bytearray(right)
            content[bit // 8] ^= 1 << bit % 8
            path.write_bytes(content)
            assert fault(folder, announced) == ArtifactFault.HASH_MISMATCH, (path.name, bit)
            flips += 1
        path.write_bytes(right)
    assert flips > 400
    assert load_artifact(folder, announced).manifest.version == "v1"


def test_a_changed_manifest_is_not_what_was_announced(make_artifact: Make) -> None:
    """With the announced hash given, any other manifest is refused, however valid."""
    folder = make_artifact()
    announced = load_artifact(folder).manifest_sha256
    assert load_artifact(folder, announced).manifest.version == "v1"
    edit_manifest(folder, seed=1)
    assert load_artifact(folder).manifest.seed == 1
    assert fault(folder, announced) == ArtifactFault.HASH_MISMATCH


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "../evil"},
        {"surprise": 1},
        {"format": 2},
        {"tasks": []},
        {"tasks": [{"name": "online", "population": "click", "window_s": 1}]},
        {"files": {"student.onnx": "0" * 64}},
        {"files": {"student.onnx": "0" * 64, "features.toml": "short"}},
        {"files": {"student.onnx": "0" * 64, "features.toml": "0" * 64, "../up": "0" * 64}},
        {"files": {"student.onnx": "0" * 64, "features.toml": "0" * 64, "x\n": "0" * 64}},
        {"files": dict.fromkeys(("student.onnx", "features.toml", *"abcdefgh"), "0" * 64)},
        {"version": "v" * 1_000_000},
        {"version": "v1\n"},
        {"created": "yesterday"},
        {"created": "2024-05-01T00:00:00"},
        {"created": "0001-01-01T00:00:00+14:00"},
        {"created": "9999-12-31T23:59:59-14:00"},
        {"created": ""},
        {"seed": 1e400},
        {"agreement": float("nan")},
        {"label_rates": {"click": float("inf")}},
        {"tasks": [{"name": f"t{n}", "window_s": 1} for n in range(100)]},
        {"tasks": [{"name": "t" * 1000, "window_s": 1}]},
        {"training": {"ts_min": 10**30, "ts_max": 0, "rows": 0, "unlabelled_rows": 0}},
    ],
)
def test_a_bad_manifest_is_refused(make_artifact: Make, changes: dict[str, object]) -> None:
    """Unknown fields, bad names and impossible tasks are all faults of the manifest."""
    folder = make_artifact()
    edit_manifest(folder, **changes)
    assert fault(folder) == ArtifactFault.BAD_MANIFEST


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\x80\x04K\x01.",
        b"[" * 5000,
        b'{"config":' * 5000,
        b'{"seed":' + b"9" * 9999,
    ],
)
def test_a_manifest_that_is_not_json_is_refused(make_artifact: Make, content: bytes) -> None:
    """Neither an empty file nor a pickle is a manifest."""
    folder = make_artifact()
    (folder / "manifest.json").write_bytes(content)
    assert fault(folder) == ArtifactFault.BAD_MANIFEST


def test_another_spec_is_refused(make_artifact: Make) -> None:
    """A spec that is not the one the student was trained with cannot slip in with a right hash."""
    folder = make_artifact()
    text = (folder / "features.toml").read_bytes().replace(b"size = 8", b"size = 9")
    (folder / "features.toml").write_bytes(text)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {"features.toml": sha256(text)})
    assert fault(folder) == ArtifactFault.SPEC_MISMATCH


@pytest.mark.parametrize(
    "text",
    [
        b"\xff not toml [",
        b"schema = " + b"[" * 5000,
        b"schema = " + b"[" * 5000 + b"]" * 5000,
        b"schema" + b".a" * 900 + b" = 1",
        b"schema = []",
        b"feature = 1",
        b"[[feature]]\nname = 1",
        b'[[feature]]\nname = "x"\nkind = "tags"\npath = "a"\nsize = 9\nslots = 999999999999',
        b'[[feature]]\nname = "x"\nkind = "categorical"\npath = "a"\nsize = 1e308',
        b'[[feature]]\nname = "x"\nkind = "numeric"\npath = "a"\nsize = 9\nboundaries = [nan, inf]',
    ],
)
def test_a_spec_that_cannot_be_read_is_refused(make_artifact: Make, text: bytes) -> None:
    """Text that is no feature spec is a spec fault, not a crash."""
    folder = make_artifact()
    (folder / "features.toml").write_bytes(text)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {"features.toml": sha256(text)})
    assert fault(folder) == ArtifactFault.SPEC_MISMATCH


def test_another_opset_is_refused(make_artifact: Make) -> None:
    """The opset in the model is the one that the manifest states."""
    folder = make_artifact()
    edit_manifest(folder, opset=18)
    assert fault(folder) == ArtifactFault.OPSET_MISMATCH


def test_a_student_of_another_size_is_refused(make_artifact: Make, tiny: Make) -> None:
    """Columns must be the spec's, tasks the manifest's."""
    for size in ({"columns": 4}, {"tasks": 1}):
        assert fault(make_artifact(onnx_bytes=tiny(**size))) == ArtifactFault.BAD_MODEL


def test_truncated_models_are_refused(make_artifact: Make) -> None:
    """Wherever a model is cut off, it is a bad model, never a crash."""
    folder = make_artifact()
    model = (folder / "student.onnx").read_bytes()
    opset_entry = 4  # the last field; without it there is no opset
    for size in [0, 1, 5, *range(10, len(model) - opset_entry, 7), len(model) - 1]:
        replace_model(folder, model[:size])
        assert fault(folder) == ArtifactFault.BAD_MODEL


def test_sizes_are_bounded(make_artifact: Make, tmp_path: Path) -> None:
    """A file beyond its bound is refused unread, whatever the manifest says; so is a pipe."""
    folder = make_artifact()
    for name, most in [
        ("manifest.json", MAX_MANIFEST_BYTES),
        ("features.toml", MAX_SPEC_BYTES),
        ("student.onnx", MAX_STUDENT_BYTES),
        ("card.html", MAX_OTHER_FILE_BYTES),
    ]:
        right = (folder / name).read_bytes()
        with (folder / name).open("r+b") as file:
            file.truncate(most + 1)  # a hole: nothing is written
        assert fault(folder) == ArtifactFault.TOO_LARGE
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert fault(folder) == ArtifactFault.NOT_A_FILE
        (folder / name).unlink()
        (folder / name).write_bytes(right)
    assert load_artifact(folder).manifest.version == "v1"


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(Manifest.model_fields)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_manifest_is_read_or_refused(changes: dict[str, object]) -> None:
    """With anything in any of its fields, a manifest is read or is one error; never another one."""
    contents = {"student.onnx": b"", "features.toml": b""}
    doc = json.loads(tiny_manifest(contents).to_bytes()) | changes
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.json").write_text(json.dumps(doc))
        for name, content in contents.items():
            (Path(folder) / name).write_bytes(content)
        with pytest.raises(ArtifactError) as caught:  # at the latest, the spec is none
            load_artifact(folder)
    assert caught.value.code in ArtifactFault
    assert len(str(caught.value)) < 1000


def test_unreachable_places_are_named(tmp_path: Path) -> None:
    """An unknown protocol is unreachable; a shipped name that is none or unknown is missing."""
    assert fault("nosuchfs://bucket/v1") == ArtifactFault.UNREACHABLE
    assert fault("pretrained:nothing") == ArtifactFault.MISSING_FILE
    assert fault("pretrained:../openrtb") == ArtifactFault.MISSING_FILE
    assert fault("pretrained:openrtb\n") == ArtifactFault.MISSING_FILE
    assert fault(tmp_path / "nowhere") == ArtifactFault.MISSING_FILE


def test_writing_checks_the_hashes(make_artifact: Make, tmp_path: Path) -> None:
    """A manifest that does not match the contents is not written."""
    artifact = load_artifact(make_artifact())
    with pytest.raises(ArtifactError, match="hash-mismatch"):
        write_artifact(tmp_path / "other", artifact.manifest, {"student.onnx": b"other"})
    assert not (tmp_path / "other").exists()


def test_rewriting_replaces_the_whole_version(make_artifact: Make, tmp_path: Path) -> None:
    """Writing over an artifact leaves a valid artifact."""
    old, new = make_artifact("old"), make_artifact("new", seed=7)
    manifest = load_artifact(new).manifest
    contents = {name: (new / name).read_bytes() for name in manifest.files}
    write_artifact(old, manifest, contents)
    assert load_artifact(old).manifest.seed == 7
    shutil.rmtree(new)
