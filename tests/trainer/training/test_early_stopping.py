from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score
from torch import Tensor

from models.features import FeatureSpec
from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from trainer.training.config import TeacherTraining
from trainer.training.context import FitContext
from trainer.training.early_stopping import (
    EVERY,
    PATIENCE,
    STRETCH,
    VALIDATION,
    choose_steps,
    needs_pilot,
    validation_rows,
)
from trainer.training.loop import deterministic
from trainer.training.teacher import Schedule, fit_teacher

SPEC = FeatureSpec.parse(
    "".join(
        f'[[feature]]\nname = "c{n}"\nkind = "categorical"\npath = "c{n}"\nsize = 40\n'
        for n in range(8)
    ),
    "test.toml",
)
LAYOUT = FeatureLayout.of(SPEC)
NET = TeacherConfig(embedding=4, expert=16, tower=8)
TRAINING = TeacherTraining(batch=128, samples=4)


def rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Requests whose label depends on three of eight columns, with noise."""
    rng = np.random.default_rng(seed)
    values_NC = rng.integers(0, 30, (count, 8))
    effects = np.random.default_rng(0).normal(size=(3, 30))
    logit_N = sum(effects[column][values_NC[:, column]] for column in range(3)) - 1.0
    labels_N = rng.random(count) < 1 / (1 + np.exp(-np.asarray(logit_N)))
    texts = [{f"c{n}": str(value) for n, value in enumerate(row)} for row in values_NC.tolist()]
    ids_NC = torch.from_numpy(SPEC.extractor().extract(texts, np.arange(count)))
    return ids_NC, torch.from_numpy(labels_N.astype(np.float32)).unsqueeze(1)


def auc(training: TeacherTraining, ids_NC: Tensor, targets_N1: Tensor) -> float:
    with deterministic(1, 5):
        teacher = fit_teacher(
            LAYOUT, ids_NC, targets_N1, config=NET, training=training, context=FitContext(5)
        )
    fresh_NC, fresh_N1 = rows(4000, seed=9)
    return float(roc_auc_score(fresh_N1[:, 0], teacher.predict(fresh_NC)[0][:, 0]))


def chosen(ids_NC: Tensor, targets_N1: Tensor, training: TeacherTraining = TRAINING) -> int:
    with deterministic(1, 5):
        return choose_steps(
            LAYOUT, ids_NC, targets_N1, config=NET, training=training, context=FitContext()
        )


def test_a_small_table_gets_the_steps_that_it_needs() -> None:
    """Two epochs of 2,000 rows leave the teacher ignorant; the steps found do not overfit it."""
    ids_NC, targets_N1 = rows(2000, seed=1)
    assert needs_pilot(2000, TRAINING)
    steps = chosen(ids_NC, targets_N1)
    fitted = replace(TRAINING, steps=steps)
    assert Schedule.of(2000, fitted).decay == steps
    found = auc(fitted, ids_NC, targets_N1)
    assert found > auc(TRAINING, ids_NC, targets_N1) + 0.05
    assert found > auc(replace(TRAINING, steps=8 * steps), ids_NC, targets_N1)


def test_labels_without_a_rule_are_not_learned_by_heart() -> None:
    """Where nothing can be learned, training stops as soon as that is clear."""
    ids_NC, _ = rows(1000, seed=1)
    noise_N1 = (torch.rand(1000, 1, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    assert chosen(ids_NC, noise_N1) <= STRETCH * PATIENCE * EVERY


@given(
    known_NT=arrays(np.bool_, st.tuples(st.integers(0, 40), st.integers(1, 3))),
)
def test_every_task_is_validated_by_its_newest_final_labels(known_NT: np.ndarray) -> None:
    """At least its share; what was not chosen and is known is older, but for other tasks' rows."""
    targets_NT = torch.from_numpy(np.where(known_NT, np.float32(1), np.float32(np.nan)))
    chosen_N = validation_rows(targets_NT).numpy()
    assert not (chosen_N & ~known_NT.any(axis=1)).any()
    for known_N in known_NT.T:
        rows = np.flatnonzero(known_N)
        share = round(VALIDATION * len(rows))
        assert (chosen_N & known_N).sum() >= share
    rarest_N = known_NT[:, np.argmin(known_NT.sum(axis=0))]
    rows = np.flatnonzero(rarest_N)
    assert chosen_N[rows[len(rows) - round(VALIDATION * len(rows)) :]].all()


def test_rows_with_final_labels_are_validated_by_the_newest() -> None:
    """Where every label is final, the slice is the end of the table."""
    chosen_N = validation_rows(torch.ones(200, 2))
    assert chosen_N.nonzero().squeeze(1).tolist() == list(range(170, 200))


@pytest.mark.parametrize("known", [0, 3])
def test_open_labels_do_not_end_the_pilot(known: int) -> None:
    """The newest rows may have no final label yet: older ones validate, and the steps suffice."""
    ids_NC, targets_N1 = rows(3000, seed=1)
    wanted = chosen(ids_NC[:2000], targets_N1[:2000])
    targets_N1[2000 + known :] = torch.nan
    found = chosen(ids_NC, targets_N1)
    assert STRETCH * 2 * EVERY < wanted / 2 <= found <= STRETCH * TRAINING.min_steps


def test_without_a_final_label_the_choice_is_the_least() -> None:
    """Nothing can be validated, so the pilot is not trained at all."""
    ids_NC, targets_N1 = rows(300, seed=1)
    assert chosen(ids_NC, torch.full_like(targets_N1, torch.nan)) == round(STRETCH * EVERY)


def test_the_loss_of_open_rows_is_asked_for_by_their_own_numbers() -> None:
    """The pilot leaves out the slice, so its rows are numbered anew; a correction's are not."""
    ids_NC, targets_N1 = rows(500, seed=1)
    asked = set()

    class Recorded:
        targets_NT = targets_N1

        @staticmethod
        def losses(logits_BT: Tensor, rows_B: Tensor) -> Tensor:
            asked.update(rows_B.tolist())
            loss = torch.nn.functional.binary_cross_entropy_with_logits
            return loss(logits_BT, targets_N1[rows_B], reduction="none")

    final_N1 = targets_N1.clone()
    final_N1[400:] = torch.nan
    with deterministic(1, 5):
        choose_steps(
            LAYOUT, ids_NC, final_N1, config=NET, training=TRAINING, context=FitContext(),
            correction=Recorded(),
        )  # fmt: skip
    assert asked == set(range(340)) | set(range(400, 500))


def test_one_row_is_enough_to_choose() -> None:
    """However few rows there are, there is a number of steps."""
    ids_NC, targets_N1 = rows(1, seed=1)
    assert chosen(ids_NC, targets_N1) >= 1


def test_the_random_state_stays() -> None:
    """The teacher's initial weights do not depend on whether a pilot went before."""
    ids_NC, targets_N1 = rows(300, seed=1)
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    choose_steps(LAYOUT, ids_NC, targets_N1, config=NET, training=TRAINING, context=FitContext())
    torch.testing.assert_close(torch.rand(3), wanted)


def test_many_rows_and_given_steps_need_no_pilot() -> None:
    """Two epochs of enough rows are steps enough; steps that are given are taken."""
    enough = TRAINING.min_steps * TRAINING.batch // TRAINING.epochs
    assert not needs_pilot(enough, TRAINING)
    assert needs_pilot(enough // 2, TRAINING)
    assert not needs_pilot(100, replace(TRAINING, steps=7))
