import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.artifact import ArtifactError, ArtifactFault, load_artifact, write_artifact
from models.manifest import Manifest, sha256

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


@pytest.mark.parametrize("name", ["student.onnx", "features.toml", "card.html"])
@pytest.mark.parametrize("place", [0, 10, -1])
def test_one_flipped_bit_is_found(make_artifact: Make, name: str, place: int) -> None:
    """A file that differs in one bit from what the manifest vouches for is refused."""
    folder = make_artifact()
    content = bytearray((folder / name).read_bytes())
    content[place] ^= 1
    (folder / name).write_bytes(content)
    assert fault(folder) == ArtifactFault.HASH_MISMATCH


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
    ],
)
def test_a_bad_manifest_is_refused(make_artifact: Make, changes: dict[str, object]) -> None:
    """Unknown fields, bad names and impossible tasks are all faults of the manifest."""
    folder = make_artifact()
    edit_manifest(folder, **changes)
    assert fault(folder) == ArtifactFault.BAD_MANIFEST


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x04K\x01."])
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


def test_a_spec_that_cannot_be_read_is_refused(make_artifact: Make) -> None:
    """Text that is no feature spec is a spec fault, not a crash."""
    folder = make_artifact()
    text = b"\xff not toml ["
    (folder / "features.toml").write_bytes(text)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {"features.toml": sha256(text)})
    assert fault(folder) == ArtifactFault.SPEC_MISMATCH


def test_another_opset_is_refused(make_artifact: Make) -> None:
    """The opset in the model is the one that the manifest states."""
    folder = make_artifact()
    edit_manifest(folder, opset=18)
    assert fault(folder) == ArtifactFault.OPSET_MISMATCH


def external_tensor(folder: Path) -> bytes:
    model = onnx.load(folder / "student.onnx")
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "/etc/hostname")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    return model.SerializeToString()


def foreign_node(folder: Path) -> bytes:
    model = onnx.load(folder / "student.onnx")
    model.graph.node[0].domain = "com.example"
    return model.SerializeToString()


def foreign_opset(folder: Path) -> bytes:
    model = onnx.load(folder / "student.onnx")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model.SerializeToString()


def own_function(folder: Path) -> bytes:
    model = onnx.load(folder / "student.onnx")
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(
        helper.make_function("", "Mine", ["x"], ["y"], [node], [helper.make_opsetid("", 17)])
    )
    return model.SerializeToString()


def hidden_external_tensor(folder: Path) -> bytes:
    """An external tensor inside an attribute of a node in a subgraph."""
    model = onnx.load(folder / "student.onnx")
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "t")
    onnx.external_data_helper.set_external_data(tensor, "/etc/hostname")
    tensor.data_location = TensorProto.EXTERNAL
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "g", [], [])
    model.graph.node.append(
        helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)
    )
    return model.SerializeToString()


@pytest.mark.parametrize(
    "build",
    [external_tensor, foreign_node, foreign_opset, own_function, hidden_external_tensor],
)
def test_only_self_contained_standard_models_load(
    make_artifact: Make, build: Callable[[Path], bytes]
) -> None:
    """External data and operators outside the standard are refused before any runtime sees them."""
    folder = make_artifact()
    replace_model(folder, build(folder))
    assert fault(folder) == ArtifactFault.BAD_MODEL


def test_truncated_models_are_refused(make_artifact: Make) -> None:
    """Wherever a model is cut off, it is a bad model, never a crash."""
    folder = make_artifact()
    model = (folder / "student.onnx").read_bytes()
    opset_entry = 4  # the last field; without it there is no opset
    for size in [0, 1, 5, *range(10, len(model) - opset_entry, 7), len(model) - 1]:
        replace_model(folder, model[:size])
        assert fault(folder) == ArtifactFault.BAD_MODEL


def test_unreachable_places_are_named(tmp_path: Path) -> None:
    """An unknown protocol is unreachable; a shipped name that is none or unknown is missing."""
    assert fault("nosuchfs://bucket/v1") == ArtifactFault.UNREACHABLE
    assert fault("pretrained:nothing") == ArtifactFault.MISSING_FILE
    assert fault("pretrained:../openrtb") == ArtifactFault.MISSING_FILE
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
