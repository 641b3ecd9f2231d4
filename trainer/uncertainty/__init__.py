"""Uncertainty of the scores: several methods behind one interface (`method.py`)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from trainer.uncertainty.confirmed import confirmed
from trainer.uncertainty.count import count
from trainer.uncertainty.deup import deup
from trainer.uncertainty.disagreement import disagreement
from trainer.uncertainty.dropout import mc_dropout
from trainer.uncertainty.ensemble import ensemble, priors
from trainer.uncertainty.heads import evidential, gaussian
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.laplace import laplace
from trainer.uncertainty.method import Estimator
from trainer.uncertainty.swag import swag


class Method(Protocol):
    """Fits an uncertainty on what a lab holds."""

    def __call__(self, lab: Lab) -> Estimator:
        """The fitted method."""


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "swag": swag,
        "mc_dropout": mc_dropout,
        "ensemble": ensemble,
        "gaussian": gaussian,
        "evidential": evidential,
        "disagreement": disagreement,
        "confirmed": confirmed,
        "deup": deup,
        "laplace": laplace,
        "priors": priors,
        "count": count,
    }
)
