"""``[trainer.gates]``: what a candidate must show before it may serve."""

from typing import Annotated

from pydantic import Field

from models.settings.section import Section

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class GateLimits(Section):
    """What a candidate must show.

    All bounds are at level alpha_k, by which the k-th candidate since the serving model took over
    is tested (``trainer/gates/spending.py``).

    Attributes:
        alpha: Probability that any candidate passes a gate without being within its limit, over
            all candidates that are ever tried against one serving model.
        better: Least improvement of the mean log-loss of all labels that must be shown, nats per
            request. 0: better at all; below 0: not worse by more than that.
        log_loss: Largest growth of each task's log-loss, as a share of it.
        auc_pr: Largest drop of each task's AUC-PR, as a share of it.
        calibration: Largest growth of each task's calibration error, as a share of its label rate.
        reward: Largest loss of the outcome value in the passed share, as a share of it.
        agreement: Largest difference between torch and onnxruntime at export.
        teacher_score: Least rank correlation of the student's scores with the teacher's.
        teacher_uncertainty: Least rank correlation of the student's uncertainties.
        slowdown: Largest ratio of the median time per request to the serving model's.
        request_us: Largest median time per request where nothing comparable serves, us.
        unseen: Largest share of held-out feature values that training never saw.
        min_positives: Rows of the rarer class without which no task's gate passes.
        patience: Candidates that are held for want of data in one gate, before it is waived.
    """

    alpha: float = Field(default=0.05, gt=0, lt=1)
    better: Finite = 0.0
    log_loss: Finite = 0.02
    auc_pr: Finite = 0.1
    calibration: Finite = 0.15
    reward: Finite = 0.03
    agreement: Finite = 1e-5
    teacher_score: Finite = 0.8
    teacher_uncertainty: Finite = 0.5
    slowdown: Positive = 1.5
    request_us: Positive = 100.0
    unseen: Finite = 0.2
    min_positives: int = Field(default=50, ge=1)
    patience: int = Field(default=2, ge=0)
