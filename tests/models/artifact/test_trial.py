"""Candidates in a process of their own: what they cost and give is found out there."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from models.artifact import ArtifactError, ArtifactFault, fetch_artifact, open_artifact
from models.artifact.trial import hold_trial, try_artifact
from models.bounds import MAX_REQUEST_US, MAX_TRIAL_CPU_S
from models.features import FeatureSpec
from models.process.isolated import module_command
from tests.tiny_artifact import Make, tiny_student


def student(nodes: Sequence[NodeProto], **constants: np.ndarray) -> bytes:
    """A student of three columns and two tasks with nodes of one's own."""
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2])
        for name in ("scores", "uncertainties")
    ]
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["N", 3])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())


def cast() -> NodeProto:
    return helper.make_node("Cast", ["ids"], ["x"], to=TensorProto.FLOAT)


def ends(x: str) -> list[NodeProto]:
    """From (N, K) to scores and uncertainties, with weights (K, 2)."""
    return [
        helper.make_node("MatMul", [x, "last"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Sigmoid", ["logits"], ["uncertainties"]),
    ]


def slow() -> bytes:
    """0.2 thousand million additions and multiplications per request."""
    nodes = [cast(), helper.make_node("MatMul", ["x", "first"], ["x0"])]
    for n in range(100):
        nodes.append(helper.make_node("MatMul", [f"x{n}", "square"], [f"x{n + 1}"]))
    square = np.full((1024, 1024), 1e-3, np.float32)
    first, last = np.ones((3, 1024), np.float32), np.ones((1024, 2), np.float32)
    return student([*nodes, *ends("x100")], first=first, square=square, last=last)


def slowish() -> bytes:
    """A request takes some 2 ms."""
    nodes = [cast(), helper.make_node("Unsqueeze", ["x", "axis"], ["x3"])]
    nodes += [helper.make_node("Mul", ["x3", "wide"], ["y0"])]
    nodes += [helper.make_node("Sigmoid", [f"y{n}"], [f"y{n + 1}"]) for n in range(30)]
    nodes += [helper.make_node("ReduceSum", ["y30", "axis"], ["small"], keepdims=0)]
    axis, wide = np.array([2], np.int64), np.zeros((1, 1, 10_000), np.float32)
    return student(
        [*nodes, *ends("small")], axis=axis, wide=wide, last=np.zeros((3, 2), np.float32)
    )


def large() -> bytes:
    """A tensor of 1.5 MB per request, so that a batch needs 0.8 GB."""
    nodes = [cast(), helper.make_node("Unsqueeze", ["x", "axis"], ["x3"])]
    nodes += [helper.make_node("Mul", ["x3", "wide"], ["y"])]
    nodes += [helper.make_node("ReduceSum", ["y", "axis"], ["small"], keepdims=0)]
    axis, wide = np.array([2], np.int64), np.zeros((1, 1, 1 << 17), np.float32)
    return student(
        [*nodes, *ends("small")], axis=axis, wide=wide, last=np.zeros((3, 2), np.float32)
    )


def mixed() -> bytes:
    """Requests are scored by the sum over all that stand in the batch."""
    nodes = [
        cast(),
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "small"], ["share"]),
        helper.make_node("Add", ["x", "share"], ["both"]),
    ]
    return student(
        [*nodes, *ends("both")],
        axis=np.array([0], np.int64),
        small=np.array(0.01, np.float32),
        last=np.full((3, 2), 0.01, np.float32),
    )


def misshapen() -> bytes:
    """Declares (N, 2) and gives (N, 3)."""
    nodes = [
        cast(),
        helper.make_node("Sigmoid", ["x"], ["scores"]),
        helper.make_node("Sigmoid", ["x"], ["uncertainties"]),
    ]
    return student(nodes)


def out_of_table() -> bytes:
    """Looks ids up in a table that is smaller than the spec's rows."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Reshape", ["rows", "flat"], ["x"]),
    ]
    table, flat = np.ones((20, 1), np.float32), np.array([-1, 3], np.int64)
    return student(
        [*nodes, *ends("x")], table=table, flat=flat, last=np.full((3, 2), 0.01, np.float32)
    )


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "NaN for one id": (lambda: tiny_student(poison=5).SerializeToString(), "uncertainty that is"),
    "negative": (lambda: tiny_student(factor=-0.1).SerializeToString(), "uncertainty that is"),
    "boundless": (lambda: tiny_student(factor=3e38).SerializeToString(), "uncertainty that is"),
    "large": (large, "Mul node.*Alloc"),
    "mixed": (mixed, "depends on the other requests"),
    "misshapen": (misshapen, "outputs"),
    "out of table": (out_of_table, "Gather node.*out of data bounds"),
    "slowish": (slowish, "a request takes [0-9]+ us"),
}


def refusal(
    folder: Path, limit_s: float = 60.0, match: str | None = None, cpu_s: int = MAX_TRIAL_CPU_S
) -> ArtifactFault:
    with pytest.raises(ArtifactError, match=match) as caught:
        hold_trial(fetch_artifact(folder), limit_s=limit_s, cpu_s=cpu_s)
    assert str(folder) in caught.value.message
    return caught.value.code


def test_a_good_artifact_passes(make_artifact: Make) -> None:
    """It is told what a request costs; ids of recent requests are tried with it."""
    files = fetch_artifact(make_artifact())
    recent_NC = np.array([[1, 9, 10], [0, 8, 8]], np.int32)
    assert 0 < hold_trial(files, (files.manifest.spec_hash, recent_NC)) < MAX_REQUEST_US
    assert 0 < hold_trial(files, ("another spec", np.zeros((5, 99), np.int32))) < MAX_REQUEST_US


@pytest.mark.parametrize("name", BAD)
def test_a_bad_model_is_refused(make_artifact: Make, name: str) -> None:
    """Whatever it gives or costs that it should not is found before a worker loads it."""
    build, fault = BAD[name]
    assert refusal(make_artifact(onnx_bytes=build()), match=fault) == ArtifactFault.BAD_MODEL


def test_a_trial_takes_no_longer_than_it_may(make_artifact: Make) -> None:
    """A model that computes for minutes is ended."""
    folder = make_artifact(onnx_bytes=slow())
    began = time.monotonic()
    assert refusal(folder, limit_s=2.0) == ArtifactFault.TOO_SLOW
    assert time.monotonic() - began < 30


@pytest.mark.timeout(600)
def test_time_is_bounded(make_artifact: Make) -> None:
    """A spec whose keys take minutes to parse ends with its share of processor time.

    Where other programs take most of the processor, its share of the clock's time ends first.
    """
    folder = make_artifact(spec="a" + ".a" * 100_000 + " = 1", spec_hash="0" * 32)
    code = refusal(folder, cpu_s=2)
    assert code in (ArtifactFault.BAD_MODEL, ArtifactFault.TOO_SLOW)


def test_recent_requests_are_tried(make_artifact: Make) -> None:
    """An id that no draw at random finds is found among those of recent requests."""
    spec = (
        '[[feature]]\nname = "a"\nkind = "categorical"\npath = "site.id"\nsize = 1000000\n'
        '[[feature]]\nname = "b"\nkind = "tags"\npath = "tags[*]"\nsize = 16\nslots = 2\n'
    )
    poisoned = tiny_student(poison=777_777).SerializeToString()
    spec_hash = FeatureSpec.parse(spec, "test").hash
    files = fetch_artifact(make_artifact(onnx_bytes=poisoned, spec=spec, spec_hash=spec_hash))
    assert hold_trial(files) > 0
    recent_NC = np.array([[777_777, 1_000_000, 1_000_000]], np.int32)
    with pytest.raises(ArtifactError) as caught:
        hold_trial(files, (spec_hash, recent_NC))
    assert caught.value.code == ArtifactFault.BAD_MODEL


def test_ids_outside_a_features_rows_are_a_fault(
    make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a spec extracts must fit the model's table."""
    artifact = open_artifact(fetch_artifact(make_artifact()))
    wrong_NC = np.full((2, 3), 24, np.int32)
    monkeypatch.setattr("models.features.Extractor.extract", lambda _self, _requests: wrong_NC)
    with pytest.raises(ArtifactError) as caught:
        try_artifact(artifact)
    assert caught.value.code == ArtifactFault.SPEC_MISMATCH


def test_packages_of_the_same_name_do_not_get_in_the_way(
    make_artifact: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a working directory with packages called models and stream counts nor PYTHONPATH."""
    files = fetch_artifact(make_artifact())
    for package in ("models", "stream", "numpy", "json"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert hold_trial(files) > 0
    done = subprocess.run(
        module_command("models.process.isolated"), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_child_gets_no_secrets(make_artifact: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment holds nothing of Weir's, such as passwords."""
    seen: list[dict[str, str]] = []
    run = subprocess.run

    def spy(*arguments: object, **named: object) -> object:
        seen.append(named["env"])  # type: ignore[arg-type]
        return run(*arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setenv("WEIR_KAFKA__SASL_PASSWORD", "secret")
    monkeypatch.setattr(subprocess, "run", spy)
    hold_trial(fetch_artifact(make_artifact()))
    assert "secret" not in str(seen)
    assert seen[0]["PATH"] == os.environ["PATH"]


def test_a_child_that_cannot_start_condemns_nobody(
    make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a process, or with one that ends by itself, a candidate is untried, not bad."""
    folder = make_artifact()
    monkeypatch.setattr("models.artifact.trial.module_command", lambda _module: ["/no/such/python"])
    assert refusal(folder) == ArtifactFault.UNTRIED
    monkeypatch.setattr("models.artifact.trial.module_command", lambda _module: ["/bin/false"])
    assert refusal(folder) == ArtifactFault.UNTRIED
    assert ArtifactFault.UNTRIED.is_transient
