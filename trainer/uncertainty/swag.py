"""SWAG (Maddox et al. 2019; DAUM, eq. 29)."""

from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator
from trainer.uncertainty.sampled import SampledEstimator


def swag(lab: Lab) -> Estimator:
    """Standard deviation of the probability over M weight sets drawn by equation 29."""
    teacher = lab.teacher()
    return SampledEstimator(teacher.net, teacher.samples)
