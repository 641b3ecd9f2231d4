"""Exploration draws: a uniform number per request, determined by its id and the seed.

A replay of the same requests under the same seed therefore draws the same.
"""

import numpy as np
import numpy.typing as npt


def draw(hashes_N: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.float64]:
    """Uniform draws in [0, 1), one per request.

    SplitMix64 (Steele, Lea, Flood 2014): hash and seed are mixed by its finaliser, once each, so
    that neighbouring seeds or hashes give independent draws.

    Args:
        hashes_N: Hashes of the request ids, uint64 of shape (N,).
        seed: Any integer; only its lowest 64 bits matter.

    Returns:
        Draws of shape (N,), multiples of 2^-53.
    """
    key = _mix(np.array([seed & 0xFFFF_FFFF_FFFF_FFFF], np.uint64))
    mixed_N = _mix(hashes_N.astype(np.uint64) ^ key)
    return (mixed_N >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(words_N: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    words_N = words_N + np.uint64(0x9E37_79B9_7F4A_7C15)
    words_N = (words_N ^ (words_N >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    words_N = (words_N ^ (words_N >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return words_N ^ (words_N >> np.uint64(31))
