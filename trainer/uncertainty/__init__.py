"""Uncertainty of the scores: several methods behind one interface (`method.py`)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from models.choices import load_choice
from trainer.training.config import UNCERTAINTIES
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator


class Method(Protocol):
    """Fits an uncertainty on what a lab holds."""

    def __call__(self, lab: Lab) -> Estimator:
        """The fitted method."""


METHODS: Mapping[str, Method] = MappingProxyType(
    {name: load_choice(UNCERTAINTIES, name) for name in UNCERTAINTIES}
)
