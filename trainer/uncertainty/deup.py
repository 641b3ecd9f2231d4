"""Direct epistemic uncertainty prediction (Lahlou et al., TMLR 2023), for binary labels.

DEUP learns the error of a model on held-out rows and subtracts what noise alone explains. With the
true probability q and the score p, the squared residual of a binary label has the mean

    E[(y - p)^2] = q (1 - q) + (q - p)^2,

and since y^2 = y it is linear in y: (y - p)^2 - p (1 - p) = (y - p) (1 - 2 p). A model fitted
to it thus learns E[y - p] = q - p, and nothing for p near 1/2. So this module learns q directly, by
boosting that corrects the logit of the held-out score. Error minus noise, both with the learned q,
is (q - p)^2, and u = |q - p|.
"""

import numpy as np

from trainer.uncertainty.boosting import fit_boosting
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.log_odds import logits
from trainer.uncertainty.method import Estimator, Float32Array, Ids
from trainer.uncertainty.shared_score import SharedScoreEstimator


def deup(lab: Lab) -> Estimator:
    """|q - p|, with q learned as a correction of scores for rows that were not trained on."""
    correction = fit_boosting(
        lab.rows.ids_NC,
        lab.rows.targets_NT,
        seed=lab.seed_of("deup"),
        offsets_NT=logits(lab.held_out().net_NT),
    )

    def spread(ids_NC: Ids, mean_NT: Float32Array) -> Float32Array:
        corrected_NT = correction.predict(ids_NC, logits(mean_NT))
        error_NT: Float32Array = np.abs(corrected_NT - mean_NT)
        # No probability has a larger standard deviation.
        return error_NT.clip(max=0.5)

    return SharedScoreEstimator(lab, spread)
