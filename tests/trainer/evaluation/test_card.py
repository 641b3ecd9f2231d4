"""The card shows every estimate of the student's metrics, with the rows behind it."""

import re

import numpy as np

from models.artifact import load_artifact
from models.artifact.manifest import Manifest
from trainer.evaluation.card import card_html
from trainer.evaluation.metrics import Selection, evaluate_explored, evaluate_weighted


def page(manifest: Manifest, scores_NT: np.ndarray, targets_NT: np.ndarray) -> str:
    return card_html(manifest, scores_NT, scores_NT, targets_NT)


def test_naive_weighted_and_explored_metrics_are_on_the_card() -> None:
    """Each task has three rows; those of the explored share count its rows alone."""
    manifest = load_artifact("pretrained:openrtb").manifest
    rng, names = np.random.default_rng(0), manifest.task_set.names
    scores_NT = rng.uniform(0.01, 0.99, (500, len(names))).astype(np.float32)
    targets_NT = (rng.random(scores_NT.shape) < scores_NT).astype(np.float32)
    propensity_N = np.where(rng.random(500) < 0.1, 0.02, 1.0)
    selection = Selection.of(np.ones(500, np.float32), propensity_N, clip=10.0)
    args = (scores_NT, targets_NT, manifest.task_set, selection)
    estimates = {"weighted": evaluate_weighted(*args), "explored": evaluate_explored(*args)}
    metrics = manifest.metrics.model_copy(update=estimates)
    html = page(manifest.model_copy(update={"metrics": metrics}), scores_NT, targets_NT)
    section = html[html.index("<h2>Selection") : html.index("<h2>click")]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", section)]
    by_task = [row for row in rows if row and row[0] == "click"]
    assert [row[1].split(":")[0] for row in by_task] == ["naive", "weighted", "explored"]
    explored = int((propensity_N < 1).sum())
    assert [row[2] for row in by_task[1:]] == ["500", str(explored)]
    assert int(by_task[1][3]) < 500  # effective rows
    assert by_task[2][3] == str(explored)
    assert by_task[1][7] == f"{estimates['weighted']['click'].log_loss:.4f}"


def test_without_other_estimates_the_naive_one_stands_alone() -> None:
    """An artifact whose training knew nothing of a selection has one row per task."""
    manifest = load_artifact("pretrained:openrtb").manifest
    metrics = manifest.metrics.model_copy(update={"weighted": {}, "explored": {}})
    manifest = manifest.model_copy(update={"metrics": metrics})
    scores_NT = np.full((20, len(manifest.tasks)), 0.5, np.float32)
    html = page(manifest, scores_NT, np.zeros_like(scores_NT))
    assert html.count("naive: passed requests") == len(manifest.tasks)
    assert "weighted: all requests" not in html
