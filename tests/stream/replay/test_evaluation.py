"""Evaluation: figures agree with scikit-learn, and a malformed outcome is named."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from models.tasks import Task, TaskSet
from stream.messages import Outcome
from stream.replay.evaluation import OutcomeError, evaluate, outcome_frame, read_outcomes

START_MS = 1_700_000_000_000


def test_evaluation_agrees_with_scikit_learn() -> None:
    """AUC per task on its population, outcomes that blocking costs, windows respected."""
    tasks = TaskSet(
        [Task(name="click", window_s=10), Task(name="online", population="click", window_s=10)]
    )
    rng = np.random.default_rng(1)
    scores = rng.random((500, 2)).round(2)
    clicked = rng.random(500) < scores[:, 0]
    online = clicked & (rng.random(500) < scores[:, 1])
    blocked = rng.random(500) < 0.5
    frame = pl.DataFrame(
        {
            "request_id": [f"r{i}" for i in range(500)],
            "timestamp": np.full(500, START_MS),
            "verdict": np.where(blocked, "block", "pass"),
            "score_click": scores[:, 0],
            "score_online": scores[:, 1],
        }
    )
    late = [(f"r{i}", "click", START_MS + 10_001) for i in np.flatnonzero(~clicked)]
    clicks = [(f"r{i}", "click", START_MS + 10_000) for i in np.flatnonzero(clicked)]
    landings = [(f"r{i}", "online", START_MS + 1) for i in np.flatnonzero(online)]
    found = evaluate(frame, outcome_frame([*late, *clicks, *clicks, *landings]), tasks)
    assert found["click"]["auc"] == pytest.approx(roc_auc_score(clicked, scores[:, 0]))
    assert found["online"]["auc"] == pytest.approx(
        roc_auc_score(online[clicked], scores[clicked, 1])
    )
    assert found["click"]["outcomes"] == clicked.sum()
    assert found["click"]["blocked"] == (clicked & blocked).sum()
    assert found["online"]["kept_share"] == pytest.approx(1 - online[blocked].sum() / online.sum())


def test_a_malformed_outcome_is_named_by_its_line(tmp_path: Path) -> None:
    """With file, line and field."""
    file = tmp_path / "outcomes.jsonl"
    file.write_bytes(Outcome("a", "click", 1).to_bytes() + b'\n{"task":"click","ts":1}\n')
    with pytest.raises(OutcomeError, match=r"outcomes\.jsonl:2: outcome: .*`request_id`"):
        read_outcomes(file)
