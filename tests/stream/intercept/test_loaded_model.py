"""What is refused before it can serve."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.artifact import Artifact, ArtifactError, ArtifactFiles, open_artifact
from models.settings import Settings
from models.tasks import TaskSet
from stream.intercept.candidates import Candidate
from stream.intercept.loaded_model import load_candidate, load_model
from stream.messages import ModelAnnouncement, RecordError
from tests.stream.intercept.watched import SHA
from tests.tiny_artifact import TASKS, Make, tiny_student


def test_tasks_must_be_those_of_the_settings(make_artifact: Make) -> None:
    """An artifact for other tasks is refused before anything of it runs."""
    with pytest.raises(ArtifactError, match="task-mismatch"):
        load_model(str(make_artifact()), TaskSet(TASKS[:1]), Settings())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)


URLS = st.text(max_size=60) | st.builds(
    "/".join,
    st.lists(
        st.sampled_from(["registry", "v1", "..", ".", "", "file:", "::", "s3:", "x\x00"]),
        max_size=6,
    ),
)


@hypothesis_settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(max_size=200)
    | JSON.map(lambda doc: json.dumps(doc).encode())
    | st.fixed_dictionaries(
        {
            "version": st.sampled_from(["v1", "../v1", ""]) | JSON,
            "url": URLS | JSON,
            "manifest_sha256": st.sampled_from([SHA, "", "x"]) | JSON,
            "ts": st.integers() | JSON,
        },
        optional=dict.fromkeys(
            ("metrics", "by", "cause", "reason", "previous", "surprise"), JSON | st.just("v1")
        ),
    ).map(lambda doc: json.dumps(doc).encode())
)
def test_any_message_is_an_announcement_or_a_refusal(tmp_path: Path, value: bytes) -> None:
    """Whatever is written to the topic ends in one of two errors, and in no other."""
    settings = Settings().override({"model.registry": str(tmp_path / "registry")})
    try:
        candidate = Candidate.announced(ModelAnnouncement.from_bytes(value), ("models", 0, 1))
    except RecordError:
        return
    with pytest.raises(ArtifactError) as caught:
        load_candidate(candidate, settings)
    assert len(str(caught.value)) < 1000


def test_nothing_of_a_bad_artifact_runs_in_this_process(
    make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its spec is parsed nor its model loaded before it has passed in another one."""
    opened: list[str] = []

    def watch(files: ArtifactFiles) -> Artifact:
        opened.append(files.url)
        return open_artifact(files)

    monkeypatch.setattr("stream.intercept.loaded_model.open_artifact", watch)
    settings = Settings(tasks=TASKS, policy={"weights": {"click": 1.0}})
    bad = make_artifact("bad", onnx_bytes=tiny_student(poison=5).SerializeToString())
    with pytest.raises(ArtifactError, match="bad-model"):
        load_model(str(bad), TaskSet(TASKS), settings)
    assert opened == []
    good = make_artifact("good")
    assert load_model(str(good), TaskSet(TASKS), settings).version == "v1"
    assert opened == [str(good)]
