"""The families of simulated markets, by name; a seed is a market of its family.

The standard market is the stream of all seeds before there were others. The others differ in kind,
so that no method is tuned to one market: an estimate that holds is tried in all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from zlib import crc32

import numpy as np

from models.errors import UserError
from models.suggestions import did_you_mean
from trainer.simulation.channels import CHANNELS, ChannelEffects
from trainer.simulation.effects import Effects, StandardEffects
from trainer.simulation.families import (
    ClusterEffects,
    ForestEffects,
    SmoothEffects,
    SparseEffects,
)
from trainer.simulation.funnel import RATES_T, FunnelShape
from trainer.simulation.world import Scene, WorldShape

RICHER_AUC_T: Final = (0.865, 0.78, 0.85, 0.86)
"""AUC-ROC of the true probabilities of the families beside the standard one, per task."""


class MarketError(UserError, ValueError):
    """A market is unknown; the message names the known ones."""


@dataclass(frozen=True, slots=True)
class Market:
    """A family of markets.

    Attributes:
        name: Its name.
        effects: Draws effects and standardises them on a sample.
        world: Sizes of the inventory.
        shape: Label rates, correlation of the steps, and AUC of the true probabilities.
        salt: Further entropy of all seeds, by which markets of one seed differ.
    """

    name: str
    effects: Callable[[np.random.Generator, Scene], Effects]
    world: WorldShape
    shape: FunnelShape
    salt: tuple[int, ...]


def _family(
    name: str,
    effects: Callable[[np.random.Generator, Scene], Effects],
    world: WorldShape = WorldShape(),  # noqa: B008
) -> Market:
    shape = FunnelShape(RATES_T, auc_T=RICHER_AUC_T)
    return Market(name, effects, world, shape, (crc32(name.encode()),))


STANDARD: Final = Market("standard", StandardEffects, WorldShape(), FunnelShape(), ())
MARKETS: Final[Mapping[str, Market]] = MappingProxyType(
    {
        market.name: market
        for market in (
            STANDARD,
            _family("forest", ForestEffects),
            _family("clusters", ClusterEffects),
            _family("smooth", SmoothEffects, WorldShape(item=0.6, model=0.5, city=0.5)),
            _family("sparse", SparseEffects),
            _family("channels", ChannelEffects, WorldShape(channels=CHANNELS)),
        )
    }
)
"""``standard``: main effects and few pairs. ``forest``: dense interactions of up to three features.
``clusters``: segments with functions of their own. ``smooth``: periodic and threshold effects, and
many rare ids. ``sparse``: few features with large linear effects. ``channels``: scenarios."""


def market_of(name: str) -> Market:
    """The family with this name.

    Raises:
        MarketError: If there is none.
    """
    if name not in MARKETS:
        raise MarketError(f"--market: {name!r} is unknown; {did_you_mean(name, MARKETS)}")
    return MARKETS[name]
