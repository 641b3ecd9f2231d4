"""Uncertainty methods behind one interface (`method.py`); ``METHODS`` maps their names."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from models.choices import load_choice
from trainer.training.config import UNCERTAINTIES
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator


class Method(Protocol):
    """Fits an uncertainty method on the rows and shared models of a lab."""

    def __call__(self, lab: Lab) -> Estimator:
        """Fit the method and return its estimator."""


METHODS: Mapping[str, Method] = MappingProxyType(
    {name: load_choice(UNCERTAINTIES, name) for name in UNCERTAINTIES}
)
