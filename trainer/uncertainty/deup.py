"""Direct epistemic uncertainty prediction (Lahlou et al., TMLR 2023), for binary labels.

DEUP learns the error of a model on held-out rows and subtracts what noise alone explains. With the
true probability q and the score p, the squared residual of a binary label has the mean

    E[(y - p)^2] = q (1 - q) + (q - p)^2,

and since y^2 = y it is linear in y: (y - p)^2 - p (1 - p) = (y - p) (1 - 2 p). Whatever is learned
from it is thus learned about E[y - p] = q - p, and for p near 1/2 nothing is. So this module learns
q directly: boosting that starts from the logit of the held-out score and corrects it. Error minus
noise, both with the learned q, leaves (q - p)^2, and u = |q - p|.
"""

from typing import Final

import numpy as np
import torch

from models.nets.weight_sets import predict_moments
from trainer.boosting import fit_boosting
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator, Floats, Ids, Rows
from trainer.uncertainty.shared_score import SharedScoreEstimator, logits

FOLDS: Final = 3


def deup(lab: Lab) -> Estimator:
    """|q - p|, with q learned as a correction of scores for rows that were not trained on."""
    seed = lab.seed_of("deup")
    held_out_NT = _held_out_scores(lab, np.random.default_rng(seed))
    correction = fit_boosting(
        lab.layout,
        lab.rows.ids_NC,
        lab.rows.targets_NT,
        seed=seed,
        offsets_NT=logits(held_out_NT),
    )

    def spread(ids_NC: Ids, mean_NT: Floats) -> Floats:
        corrected_NT = correction.predict(ids_NC, logits(mean_NT))
        error_NT: Floats = np.abs(corrected_NT - mean_NT)
        # No probability has a larger standard deviation.
        return error_NT.clip(max=0.5)

    return SharedScoreEstimator(lab, spread)


def _held_out_scores(lab: Lab, rng: np.random.Generator) -> Floats:
    """Scores of all rows, each by a net that was trained on the other folds."""
    fold_N = rng.permutation(len(lab.rows)) % FOLDS
    scores_NT = np.zeros_like(lab.rows.targets_NT)
    for fold in range(FOLDS):
        others = Rows(lab.rows.ids_NC[fold_N != fold], lab.rows.targets_NT[fold_N != fold])
        net = lab.fit_net("fold net", fold, rows=others)
        ids_NC = torch.from_numpy(lab.rows.ids_NC[fold_N == fold])
        mean_NT, _ = predict_moments(net, [dict(net.named_parameters())], ids_NC)
        scores_NT[fold_N == fold] = mean_NT.numpy()
    return scores_NT
