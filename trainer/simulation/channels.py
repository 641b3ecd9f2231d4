"""A market of scenarios: media channels with sizes, label rates and effects of their own.

The channels are phone, desktop, tablet and television; ``device.devicetype`` says which, so that
the feature ``device_type`` names the scenario in training and ``policy.scenario_path`` may say it
in serving. Their sizes are those of the four scenarios of AliPay in AESM2 (Zou et al. 2022,
Table 1), the smallest with 6.4 % of the traffic; their label rates are in the order of those there.
"""

from typing import Final

import numpy as np

from trainer.simulation.effects import STEPS, Effects, StandardEffects
from trainer.simulation.world import Channel, Float64Array, Ints, Scene

CHANNELS: Final = (
    Channel(devicetype=4, systems=(0, 1), share=0.5167),
    Channel(devicetype=2, systems=(2,), share=0.2891),
    Channel(devicetype=5, systems=(0, 1), share=0.1298),
    Channel(devicetype=3, systems=(5,), share=0.0644),
)
"""Phone, desktop, tablet and television, as VP&RI, HP&BS, HP&RI and VP&BS there."""
_CLICK_RATES_S: Final = np.array([0.4374, 0.0233, 0.2834, 0.0774])
_ORDER_RATES_S: Final = np.array([0.0600, 0.0392, 0.0875, 0.0349])
"""Orders of clicked impressions."""
BETWEEN: Final = 0.15
"""Share of the logits' variance that is between channels: less than in AliPay, where the channel
alone says nearly everything about a click."""
OWN: Final = 0.5
"""Share of the variance within a channel that its own effects have; the rest are shared."""


class ChannelEffects(Effects):
    """Effects that all channels share, those of each channel, and its level.

    Args:
        rng: Generator of the effects.
        sample: Scene on which numbers and logits have mean 0 and standard deviation 1.
    """

    def __init__(self, rng: np.random.Generator, sample: Scene) -> None:
        super().__init__(sample)
        self._shared = StandardEffects(rng, sample)
        self._own = [StandardEffects(rng, sample) for _ in CHANNELS]
        levels_ST = np.stack(
            [_level(_CLICK_RATES_S), np.zeros(len(CHANNELS)), *2 * [_level(_ORDER_RATES_S)]], axis=1
        )
        self._levels_ST = np.sqrt(BETWEEN) * levels_ST
        self._standardise(sample)

    def _raw(self, scene: Scene) -> Float64Array:
        channel_N = channels(scene)
        own_NT = np.zeros((len(scene), STEPS))
        for number, effects in enumerate(self._own):
            inside_N1 = (channel_N == number)[:, None]
            own_NT += np.where(inside_N1, effects.logits(scene), 0.0)
        within_NT = np.sqrt(OWN) * own_NT + np.sqrt(1 - OWN) * self._shared.logits(scene)
        return np.asarray(np.sqrt(1 - BETWEEN) * within_NT + self._levels_ST[channel_N])


def channels(scene: Scene) -> Ints:
    """Number of each request's channel in ``CHANNELS``, int64 (N,)."""
    types_S = [channel.devicetype for channel in CHANNELS]
    found_N = np.zeros(len(scene), np.int64)
    for number, kind in enumerate(types_S):
        found_N[scene.codes["devicetype"] == kind] = number
    return found_N


def _level(rates_S: Float64Array) -> Float64Array:
    """Log odds of rates, centred and scaled by the channels' shares, (S,)."""
    share_S = np.array([channel.share for channel in CHANNELS])
    logit_S = np.log(rates_S / (1 - rates_S))
    centred_S = logit_S - share_S @ logit_S
    return np.asarray(centred_S / np.sqrt(share_S @ centred_S**2))
