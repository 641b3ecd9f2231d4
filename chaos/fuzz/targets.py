"""Targets of the fuzzer, with valid seed inputs and the outcomes that any input may have.

A target takes bytes and returns a short text that names the outcome; inputs with a new outcome are
mutated further. Any exception is a failure.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.artifact import ArtifactError, ArtifactFiles, open_artifact
from models.artifact.manifest import Manifest, is_name, sha256
from models.artifact.onnxfile import OnnxFileError, read_student
from models.artifact.registry import Registry
from models.bounds import MAX_MANIFEST_BYTES
from models.features import FeatureSpec, SpecError
from models.settings import PolicySettings, SettingsError, load_settings
from models.tasks import DEFAULT_TASKS
from stream.feedback.example_maker import ExampleMaker
from stream.intercept.interceptor import Interceptor
from stream.intercept.metrics import NoMetrics
from stream.messages import (
    Cause,
    Decision,
    FleetState,
    ModelAnnouncement,
    Outcome,
    RateSummary,
    Reason,
    Spending,
    TrainingExample,
    read_change,
    read_scenario,
    read_spending,
    read_state,
    read_summary,
    write_change,
    write_spending,
    write_state,
    write_summary,
)
from stream.messages.parsing import RecordError
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy
from stream.policy.errors import PolicyError
from tests.tiny_artifact import SPEC_TEXT, tiny_manifest, tiny_student

Run = Callable[[bytes], str]
_NUMBERS = re.compile(r"""[0-9]+|'.*?'|".*?"|`.*?`|[^ -~]+""", re.DOTALL)
"""The parts of an error message that differ between errors of one kind."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target.

    Attributes:
        seeds: Valid inputs.
        run: Runs an input and returns its outcome.
    """

    seeds: Sequence[bytes]
    run: Run


def refused(error: Exception) -> str:
    """The outcome of a refused input: the kind of error, without numbers and names."""
    _, _, fault = str(error).partition(": ")
    return f"{type(error).__name__}: {_NUMBERS.sub('#', fault)[:60]}"


def decoder(read: Callable[[bytes], Any], write: Callable[[Any], bytes]) -> Run:
    """Decode a message and check the round trip; RecordError is the only error."""

    def run(data: bytes) -> str:
        try:
            message = read(data)
        except RecordError as error:
            return refused(error)
        written = write(message)
        assert write(read(written)) == written, "the message changes in a round trip"
        return "read"

    return run


def records() -> dict[str, Target]:
    """Decoders of decisions, outcomes, examples and announcements."""
    decision = Decision("v1", 0.5, None, Reason.SCORE, 0.25, 7)
    example = TrainingExample("r1", 1_700_000_000_000, "0" * 16, [1, 2, 3], decision, 2.0, 9)
    announcement = ModelAnnouncement(
        "v1",
        "registry/v1",
        "0" * 64,
        1,
        metrics={"auc": {"click": 0.7}},
        by="ann@host",
        cause=Cause.ROLLBACK,
        reason="fewer deals",
        previous="v0",
    )
    samples: dict[str, Any] = {
        "decision": decision,
        "outcome": Outcome("r1", "click", 1_700_000_000_000),
        "training-example": example,
        "announcement": announcement,
    }
    return {
        name: Target([sample.to_bytes()], decoder(type(sample).from_bytes, type(sample).to_bytes))
        for name, sample in samples.items()
    }


def feedback() -> dict[str, Target]:
    """Passed requests with their headers, as the feedback worker reads them."""
    header = Decision("v1", 0.5, None, Reason.SCORE, 0.25, 7).to_bytes()
    request = b'k\x1e{"id":"1","imp":[{}],"site":{"id":"s"}}\x1eweir\x1e' + header
    return {"passed": Target([request, b'k\x1e{"id":"1","imp":[{}]}\x1ex\x1e'], _passed)}


_MAKER = ExampleMaker(FeatureSpec.parse(SPEC_TEXT, "fuzz"), 1.0, 2000, WorkerMetrics().refusals)


def _passed(data: bytes) -> str:
    """A record of the pass topic becomes one example that can be read, or is refused."""
    record: Any = _Record(1_700_000_000_000, (data.split(b"\x1e", 3) + [b""] * 4)[:4])
    made = _MAKER.make([record], 1)
    assert len(made.examples) + made.refused == 1
    for out in made.examples:
        example = TrainingExample.from_bytes(out.value)
        assert out.key == example.request_id.encode()
    return "example" if made.examples else "refused"


def control() -> dict[str, Target]:
    """Decoders of control, consumption, rate-state and rate-summaries, and of keys."""
    change = {"rate": 0.5, "reward": "deal * 20 + cart", "weights": {"click": 1.0}, "slack": 9.0}
    spending = Spending(100.0, 25.0, 1_000, 90_000, 30_000)
    rewards = np.linspace(0, 1, 8, dtype=np.float32)
    state = FleetState("a", 3, 2, 20.5, 1.0, 0.5, rewards, rewards[::-1], {"v1": 3})
    summary = RateSummary("a", "w", 1, 2.0, 1.0, 0.5, -0.5, 20.5, rewards, {"v1": 3})
    return {
        "control": Target([write_change(change) or b""], _steer),
        "consumption": Target([write_spending(spending)], decoder(read_spending, write_spending)),
        "rate-state": Target([b"\n".join(write_state(state))], _state),
        "rate-summaries": Target([b"\n".join(write_summary(summary))], _summary),
        "scenario": Target([b"a scenario", b"*", "Gr\u00f6\u00dfe".encode()], _scenario),
    }


def _scenario(data: bytes) -> str:
    try:
        assert read_scenario(data).encode() == data
    except RecordError as error:
        return refused(error)
    return "read"


def _state(data: bytes) -> str:
    key, _, value = data.partition(b"\n")
    try:
        state = read_state(key, value)
    except RecordError as error:
        return refused(error)
    assert write_state(read_state(*write_state(state))) == write_state(state)
    return "read"


def _summary(data: bytes) -> str:
    key, _, value = data.partition(b"\n")
    try:
        summary = read_summary(key, value)
    except RecordError as error:
        return refused(error)
    assert write_summary(read_summary(*write_summary(summary))) == write_summary(summary)
    return "read"


_POLICY = Policy(PolicySettings(scenario_path="site.id"), DEFAULT_TASKS, worker="w")


def _steer(data: bytes) -> str:
    """Apply a change of the settings and revert it, unless it is refused."""
    try:
        change = read_change(data)
        _POLICY.apply_change("a", change)
    except (RecordError, PolicyError) as error:
        return refused(error)
    _POLICY.apply_change("a", None)
    return "in force"


_CONTENTS = {
    "student.onnx": tiny_student().SerializeToString(),
    "features.toml": SPEC_TEXT.encode(),
}


def artifacts() -> dict[str, Target]:
    """Parts of an artifact: student, spec, manifest, URL."""
    spec = (Path(__file__).parents[2] / "models" / "features" / "specs" / "jd.toml").read_bytes()
    manifest = tiny_manifest(_CONTENTS).to_bytes()
    poisoned = tiny_student(poison=5).SerializeToString()
    urls = [b"/srv/registry/v1", b"srv/../x", b"zip::/srv/registry/v1", b"file:///srv/registry/v1"]
    return {
        "student": Target([_CONTENTS["student.onnx"], poisoned], _student),
        "spec": Target([SPEC_TEXT.encode(), spec], _spec),
        "manifest": Target([manifest], _manifest),
        "url": Target(urls, _url),
    }


def _student(data: bytes) -> str:
    try:
        read = read_student(data)
    except OnnxFileError as error:
        return refused(error)
    assert read_student(read.content).content == read.content, "changes in a round trip"
    return "read"


def _spec(data: bytes) -> str:
    try:
        spec = FeatureSpec.parse(data.decode(), "fuzz")
    except UnicodeDecodeError:
        return "not UTF-8"
    except SpecError as error:
        return refused(error)
    ids_NC = spec.extractor().extract(
        [{}, {"id": "1", "site": {"id": "s"}}], np.array([-1, 1_700_000_000_000])
    )
    assert ((ids_NC >= 0) & (ids_NC < spec.rows)).all(), "an id outside of the table"
    return "read"


def _manifest(data: bytes) -> str:
    try:
        manifest = Manifest.model_validate_json(data[:MAX_MANIFEST_BYTES])
    except ValueError as error:
        return refused(error)
    assert manifest.created_s >= 0
    try:
        open_artifact(ArtifactFiles("fuzz", manifest, sha256(data), _CONTENTS))
    except ArtifactError as error:
        return refused(error)
    return "read"


def _url(data: bytes) -> str:
    try:
        found = Registry("/srv/registry").below(data.decode(errors="surrogateescape"))
    except ArtifactError as error:
        return str(error.code)
    rest = found.removeprefix("/srv/registry/")
    assert rest != found, "outside of the registry"
    assert all(map(is_name, rest.split("/")))
    return "below"


def settings() -> dict[str, Target]:
    """The settings file."""
    text = b"""\
[kafka]
bootstrap = "127.0.0.1:9092"
partitions = 8
[worker]
guarantee = "exactly-once"
metrics_port = 0
[policy]
rate = 0.6
weights = {click = 1.0, deal = 20.0}
window = {requests = 1000, seconds = 60.5}
[policy.scenarios.a]
rate = 0.1
[model]
registry = "var/registry"
[[tasks]]
name = "click"
window_s = 1800
[[tasks]]
name = "deal"
population = "click"
window_s = 6e5
"""
    return {"settings": Target([text], _settings)}


def _settings(data: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            found = load_settings(Path(file.name))
        except SettingsError as error:
            return refused(error)
    assert found.override({}) == found, "changed by an override of nothing"
    return "read"


class _Record:
    """A consumed record."""

    def __init__(self, offset: int, parts: Sequence[bytes]) -> None:
        key, value, name, header = parts
        self.topic, self.partition, self.offset = "requests", 0, offset
        self.key, self.value, self.timestamp = key or None, value, offset
        self.headers = [(name.decode(errors="replace"), header)] if name else []


def requests() -> dict[str, Target]:
    """Bid requests with key and header, through the interceptor without a model."""
    seed = b'k\x1e{"id":"1","imp":[{}],"site":{"id":"s"}}\x1eweir\x1e{"model":""}'
    return {"request": Target([seed, b"\x1e{broken\x1e\x1e"], _request)}


_INTERCEPTOR = Interceptor(_POLICY, NoMetrics(), max_value_bytes=2000)


def _request(data: bytes) -> str:
    """Intercept a record: one output, with its own bytes or as their dead letter."""
    parts = (data.split(b"\x1e", 3) + [b""] * 4)[:4]
    record: Any = _Record(7, parts)
    result = _INTERCEPTOR.intercept([record])
    passed = [(out, "passed") for out in result.passed]
    rejected = [(out, str(out.headers[-5:])[:60]) for out in result.rejected]
    ((output, fate),) = passed + rejected
    assert output.timestamp == record.timestamp
    assert (record.value or b"").startswith(output.value or b"")
    return fate


def all_targets() -> dict[str, Target]:
    """All targets by name, except the scanner (:mod:`chaos.fuzz.scanner`)."""
    return {**records(), **feedback(), **control(), **artifacts(), **settings(), **requests()}
