from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models.nets.backbone import Shape
from models.nets.config import BLOCKS, SEARCHED_INTERACTIONS, Architecture, TeacherConfig
from models.nets.teacher import build_teacher
from models.settings import SettingsError, load_settings
from stream.cli.main import build_app
from tests.trainer.uncertainty.tiny_funnel import LAYOUT, make_world
from trainer.search.picture import to_svg, to_toml
from trainer.search.random_search import best_of_draws, draw
from trainer.search.search import SearchPlan, search
from trainer.search.supernet import SuperNet
from trainer.training.checkpoint import Checkpoint
from trainer.training.config import TeacherTraining, TrainConfig
from trainer.training.context import FitContext
from trainer.training.loop import deterministic

NET = TeacherConfig("automtl", embedding=4, expert=8, tower=4)
TRAINING = TeacherTraining(batch=32, learning_rate=5e-3)
PLAN = SearchPlan(experts=3, blocks=2, selected=2, steps=40)
FOUND = Architecture("cross", (("skip", "gate"), ("mlp-16", "conv-3")), ((1,), (0, 1)))


def searched(context: FitContext, plan: SearchPlan = PLAN) -> Architecture:
    world = make_world(600, 1)
    with deterministic(1, 5):
        return search(
            LAYOUT,
            world.rows,
            make_world(300, 2).rows,
            config=NET,
            training=TRAINING,
            plan=plan,
            context=context,
        )


def test_a_search_finds_an_architecture_of_the_space_and_is_reproducible() -> None:
    """Names of the space, the asked sizes; the same seed finds the same."""
    found = searched(FitContext(5))
    assert found.interaction in SEARCHED_INTERACTIONS
    assert [len(blocks) for blocks in found.experts] == [2, 2, 2]
    assert {name for blocks in found.experts for name in blocks} <= set(BLOCKS)
    assert [len(each) for each in found.selected] == [2, 2]
    assert searched(FitContext(5)) == found


def test_an_interrupted_search_resumes_to_the_same_architecture(tmp_path: Path) -> None:
    """The state of the architecture's optimizer is part of the checkpoint."""

    class StoppedError(Exception):
        pass

    def context(stop_at: int | None) -> FitContext:
        made = FitContext(5, checkpoint=Checkpoint(tmp_path / "c", {"job": 1}, every_s=0))
        if stop_at is not None:
            update = made.progress.update

            def counted(bar: object, completed: int) -> None:
                if completed > stop_at:
                    raise StoppedError
                update(bar, completed=completed)  # type: ignore[arg-type]

            made.progress.update = counted  # type: ignore[method-assign,assignment]
        return made

    with pytest.raises(StoppedError):
        searched(context(17))
    assert searched(context(None)) == searched(FitContext(5))


def test_only_the_validation_rows_train_the_architecture() -> None:
    """Without steps of its own it stays at equal weights, whatever the training rows say."""
    torch.manual_seed(0)
    net = SuperNet(Shape(LAYOUT.features, 2), NET, 3, 2)
    assert net.found(2).interaction == SEARCHED_INTERACTIONS[0]
    still = searched(FitContext(5), replace(PLAN, architecture_rate=0.0))
    assert still.experts == ((BLOCKS[0], BLOCKS[0]),) * 3


def test_the_divergence_is_least_where_tasks_select_differently() -> None:
    """0 for equal selections; -log 2 for two tasks that select disjoint experts (section 3.4.2)."""
    net = SuperNet(Shape(LAYOUT.features, 2), NET, 2, 1)
    assert net.divergence().item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        net.selection_TE.copy_(torch.tensor([[30.0, 0.0], [0.0, 30.0]]))
    assert net.divergence().item() == pytest.approx(-np.log(2), abs=1e-4)


def test_what_was_found_is_a_net_that_settings_can_name(tmp_path: Path) -> None:
    """The TOML is read back as the same architecture, and its gates mix what was selected."""
    path = tmp_path / "weir.toml"
    path.write_text(to_toml(FOUND))
    net = TrainConfig.of(load_settings(path).training).net
    assert (net.kind, net.architecture) == ("automtl", FOUND)
    built = build_teacher(LAYOUT, 2, replace(net, embedding=4, heads=1))
    assert [gate.out_features for gate in built.backbone.gates] == [1, 2]
    with pytest.raises(SettingsError, match=r"architecture\.experts.*'mlp-8' is unknown"):
        TrainConfig.of({"net": {"architecture": {"experts": [["mlp-8"]]}}})
    wrong = replace(net, embedding=4, architecture=replace(FOUND, selected=((5,),)))
    with pytest.raises(ValueError, match=r"selected: task 0 has the experts \[5\]; .*0 to 1"):
        build_teacher(LAYOUT, 2, wrong)


def test_the_picture_has_every_block_and_a_line_per_gate() -> None:
    """Names are escaped; each task is joined to the experts selected for it."""
    svg = to_svg(FOUND, ["click", "<deal>"])
    assert svg.count("<rect") == 1 + 4 + 2
    assert svg.count("<line") == 4 + 3
    assert "&lt;deal&gt;" in svg
    assert "conv-3" in svg


def test_random_search_tries_what_its_budget_allows() -> None:
    """The best of the draws by loss; one at least; all choices occur."""
    rng = np.random.default_rng(0)
    drawn = [draw(PLAN, 2, rng) for _ in range(200)]
    assert {each.interaction for each in drawn} == set(SEARCHED_INTERACTIONS)
    assert {b for each in drawn for blocks in each.experts for b in blocks} == set(BLOCKS)
    ticks = iter(range(100))
    losses = {}

    def loss(architecture: Architecture) -> float:
        return losses.setdefault(architecture, len(losses) % 3 + len(losses) / 100)

    best, found, tried = best_of_draws(PLAN, 2, 1, loss, 5.0, lambda: float(next(ticks)))
    assert tried == 5
    assert found == min(losses.values()) == losses[best]
    assert best_of_draws(PLAN, 2, 1, loss, 0.0)[2] == 1


def test_the_command_writes_architecture_and_picture(tmp_path: Path) -> None:
    """`weir search --quick --against-random` ends with a table of three nets."""
    out = tmp_path / "found"
    command = ["search", "--quick", "--against-random", "--out", str(out)]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"architecture.toml", "architecture.svg"}
    assert all(name in result.output for name in ("search", "cgc", "random"))
