"""Embeddings of numeric features besides one vector per bucket.

The ids that examples store are buckets, in order; row 0 of a feature means "missing". A bucket
learns from its own rows only, although its neighbours are alike. *Soft* buckets mix the vectors of
the neighbours in; *periodic* vectors (Gorishniy et al., NeurIPS 2022, section 3.3) are a linear map
of sin and cos of the bucket's place times learned frequencies, and are added to the bucket's own.

N requests, S single-valued features, M numeric ones among them, D width, P frequencies.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

Span = tuple[int, int, int]
"""Place of a numeric feature among the S, its first row, and number of its rows."""

NEIGHBOUR: Final = 0.25
"""Share of each neighbour in a soft bucket's vector."""
FREQUENCIES: Final = 8
SPREAD: Final = 1.0
"""Deviation of the initial frequencies, in periods over all buckets."""


class SoftBuckets(nn.Module):
    """Vectors of numeric features as mixtures with those of the neighbouring buckets.

    Args:
        spans: The M features.
    """

    places_M: Tensor
    first_M: Tensor
    last_M: Tensor

    def __init__(self, spans: Sequence[Span]) -> None:
        super().__init__()
        places, firsts, sizes = zip(*spans, strict=True)
        lasts = [first + size - 1 for first, size in zip(firsts, sizes, strict=True)]
        self.register_buffer("places_M", torch.tensor(places))
        self.register_buffer("first_M", torch.tensor(firsts) + 1)
        self.register_buffer("last_M", torch.tensor(lasts))

    def forward(self, singles_NSD: Tensor, ids_NS: Tensor, table_RD: Tensor) -> Tensor:
        """The vectors, with those of numeric features replaced; missing ones stay."""
        ids_NM = ids_NS[:, self.places_M]
        known_NM1 = (ids_NM >= self.first_M).unsqueeze(2)
        below_NMD = functional.embedding((ids_NM - 1).maximum(self.first_M), table_RD)
        above_NMD = functional.embedding((ids_NM + 1).minimum(self.last_M), table_RD)
        own_NMD = singles_NSD[:, self.places_M]
        soft_NMD = (1 - 2 * NEIGHBOUR) * own_NMD + NEIGHBOUR * (below_NMD + above_NMD)
        return singles_NSD.index_copy(1, self.places_M, torch.where(known_NM1, soft_NMD, own_NMD))


class PeriodicVectors(nn.Module):
    """Periodic functions of a bucket's place, from 0 to 1, added to its vector.

    Args:
        spans: The M features.
        width: D.
    """

    places_M: Tensor
    first_M: Tensor
    steps_M: Tensor

    def __init__(self, spans: Sequence[Span], width: int) -> None:
        super().__init__()
        places, firsts, sizes = zip(*spans, strict=True)
        self.register_buffer("places_M", torch.tensor(places))
        self.register_buffer("first_M", torch.tensor(firsts) + 1)
        self.register_buffer("steps_M", (torch.tensor(sizes) - 2).clamp(min=1))
        self.frequencies_MP = nn.Parameter(torch.randn(len(spans), FREQUENCIES) * SPREAD)
        bound = 1 / math.sqrt(2 * FREQUENCIES)
        self.linear_MPD = nn.Parameter(
            torch.empty(len(spans), 2 * FREQUENCIES, width).uniform_(-bound, bound)
        )

    def forward(self, singles_NSD: Tensor, ids_NS: Tensor) -> Tensor:
        """The vectors; those of missing numbers stay."""
        ids_NM = ids_NS[:, self.places_M]
        known_NM1 = (ids_NM >= self.first_M).unsqueeze(2)
        place_NM1 = ((ids_NM - self.first_M) / self.steps_M).unsqueeze(2)
        angles_NMP = 2 * math.pi * place_NM1 * self.frequencies_MP
        waves_NMP = torch.cat([angles_NMP.sin(), angles_NMP.cos()], dim=2)
        added_NMD = torch.einsum("nmp,mpd->nmd", waves_NMP, self.linear_MPD)
        own_NMD = singles_NSD[:, self.places_M]
        return singles_NSD.index_copy(1, self.places_M, own_NMD + added_NMD * known_NM1)
