"""`weir zoo` runs whole on few rows; its metrics are what they say."""

from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from models.errors import UserError
from models.tasks import DEFAULT_TASKS
from stream.cli.main import build_app
from trainer.experiments.data import Dataset
from trainer.zoo.measure import quality
from trainer.zoo.plan import ZooPlan, boosting_trials, net_trials

QUICK = ["zoo", "--quick", "--kinds", "cgc,esmm,apem"]


def test_a_quick_comparison_resumes_and_reports_every_net(tmp_path: Path) -> None:
    """Two seeds; the report has all nets with intervals, boosting and truth; again runs nothing."""
    out = tmp_path / "zoo"
    result = CliRunner().invoke(build_app(), [*QUICK, "--out", str(out)])
    assert result.exit_code == 0, result.output
    found = orjson.loads((out / "zoo.json").read_bytes())["nets"]
    assert set(found) == {"cgc", "esmm", "apem", "lightgbm", "truth"}
    for net, figures in found.items():
        assert set(figures["log_loss"]["values"]) == {"1", "2"}
        assert 0 < figures["kept"]["mean"] <= 1
        assert figures["click"]["auc_roc"]["mean"] <= found["truth"]["click"]["auc_roc"]["mean"]
        assert (net == "truth") != ("cost" in figures)
    raw = (out / "raw.jsonl").read_bytes()
    again = CliRunner().invoke(build_app(), [*QUICK, "--out", str(out)])
    assert again.exit_code == 0, again.output
    assert (out / "raw.jsonl").read_bytes() == raw
    for page in ("zoo.md", "zoo.html"):
        assert "apem" in (out / page).read_text()


def test_the_truth_keeps_most_and_is_consistent() -> None:
    """True probabilities pass the most value, and a funnel is nested in them."""
    rng = np.random.default_rng(0)
    steps_NT = rng.beta(2, 3, (4000, 4))
    p_NT = np.cumprod(steps_NT, axis=1)
    p_NT[:, 1] = steps_NT[:, 1]
    labels_NT = (rng.random((4000, 4)) < np.cumprod(steps_NT, axis=1)).astype(np.float32)
    part = Dataset(np.zeros((4000, 1), np.int32), labels_NT, p_NT, np.zeros(4000, np.bool_))
    plan = ZooPlan()
    truth = quality(p_NT.astype(np.float32), part, DEFAULT_TASKS, plan)
    noisy_NT = np.clip(p_NT * rng.lognormal(0, 0.7, p_NT.shape), 0.001, 0.999).astype(np.float32)
    noisy = quality(noisy_NT, part, DEFAULT_TASKS, plan)
    assert truth["kept"] > noisy["kept"] > 1 - plan.rate
    assert truth["inconsistent"] == 0.0
    assert noisy["inconsistent"] > 0.05
    assert truth["log_loss"] < noisy["log_loss"]


def test_trials_are_the_same_for_every_net() -> None:
    """The first has the defaults; later ones are drawn by the seed, whatever the kind."""
    plan = ZooPlan(trials=3)
    one, other = (net_trials(plan, kind, 1) for kind in ("cgc", "mmoe"))
    assert one[0].net == plan.config.net
    assert one[0].training == plan.config.teacher
    assert [trial.training for trial in one] == [trial.training for trial in other]
    assert [trial.net.expert for trial in one] == [trial.net.expert for trial in other]
    assert net_trials(plan, "cgc", 2)[1] != one[1]
    assert len(boosting_trials(plan, 1)) == 3
    assert boosting_trials(plan, 1)[0] == {}


def test_an_unknown_kind_is_named() -> None:
    """The message says which kinds there are."""
    with pytest.raises(UserError, match="--kinds: 'mmo' is unknown; did you mean 'mmoe'"):
        ZooPlan().with_options(kinds=["cgc", "mmo"])
