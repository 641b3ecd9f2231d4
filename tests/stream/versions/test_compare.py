"""Two versions side by side."""

from pathlib import Path

from models.artifact import fetch_artifact
from models.artifact.manifest import Metrics, TaskMetrics
from models.features import FeatureSpec
from stream.versions.compare import compare
from tests.tiny_artifact import SPEC_TEXT, TASKS, Make


def test_what_differs_is_shown(make_artifact: Make) -> None:
    """Every figure of both, other leaves that differ, and features by what became of them."""
    other_spec = SPEC_TEXT.replace("size = 16", "size = 17").replace('"site"', '"app"')
    figures = TaskMetrics(rows=10, positives=5, auc_roc=None, auc_pr=0.7, log_loss=0.4, ece=0.01)
    per_task = {"click": figures, "online": figures}
    tasks = (TASKS[0], TASKS[1].model_copy(update={"window_s": 240}))
    one = make_artifact("one", version="v1", config={"net": {"kind": "mlp"}, "held_out": 0.1})
    other = make_artifact(
        "other",
        version="v2",
        spec=other_spec,
        spec_hash=FeatureSpec.parse(other_spec, "test").hash,
        metrics=Metrics(teacher=per_task, student=per_task, uncertainty_spearman={}),
        tasks=tasks,
        config={"net": {"kind": "ple-mlp"}, "held_out": 0.1, "auto_rate": 0.8},
    )
    found = compare(fetch_artifact(one), fetch_artifact(other))
    assert found["versions"] == ["v1", "v2"]
    assert found["metrics"]["click"]["auc_roc"] == [0.8, None]
    assert found["metrics"]["online"]["log_loss"] == [0.5, 0.4]
    assert found["metrics"]["online"]["rows"] == [10, 10]
    changed = found["manifest"]
    assert changed["config.net.kind"] == ["mlp", "ple-mlp"]
    assert changed["config.auto_rate"] == [None, 0.8]
    assert changed["tasks.online.window_s"] == [120, 240]
    assert "config.held_out" not in changed
    assert set(changed) == {
        "config.net.kind", "config.auto_rate", "tasks.online.window_s", "spec_hash"
    }  # fmt: skip
    assert found["features"] == {"added": ["app"], "removed": ["site"], "changed": ["segments"]}


def test_a_version_does_not_differ_from_itself(make_artifact: Make, tmp_path: Path) -> None:
    """Nothing but the figures, which are the same."""
    files = fetch_artifact(make_artifact())
    found = compare(files, files)
    assert found["manifest"] == {}
    assert found["features"] == {"added": [], "removed": [], "changed": []}
    assert all(one == other for task in found["metrics"].values() for one, other in task.values())
