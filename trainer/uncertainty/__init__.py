"""Uncertainty of the scores: several methods behind one interface (`method.py`)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator
from trainer.uncertainty.swag import swag


class Method(Protocol):
    """Fits an uncertainty on what a lab holds."""

    def __call__(self, lab: Lab) -> Estimator:
        """The fitted method."""


METHODS: Mapping[str, Method] = MappingProxyType({"swag": swag})
