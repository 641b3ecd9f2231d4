"""The design matrix of linear models: one column per id, and one per ordered feature's place.

N requests, C columns of ids, S single-valued features, G tag slots, M ordered features, R rows of
the embedding table, Q = R + M coefficients, K = S + G + M entries of a request.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from models.nets.embedding import FeatureLayout
from trainer.uncertainty.method import Ids

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

LEAST_BUCKETS: Final = 3
"""Buckets, besides the one for missing, from which the order of an ordered feature counts."""


@dataclass(frozen=True, slots=True)
class Design:
    """Places of the features' ids in a request's row of the matrix.

    A tag counts 1 / number of the request's tags of that feature, as in the nets' embedding. The
    place of an ordered feature's bucket is scaled to [-2, 2] and is 0 where the number is missing.

    Attributes:
        singles_S: Columns of the single-valued features.
        slots_G: Columns of the tags.
        missing_G: The id that means "no tag".
        feature_G: Number of each slot's tag feature.
        ordered_M: Columns of the ordered features.
        first_M: Their first row of the table.
        size_M: Number of their rows.
        groups_Q: Group of each coefficient: those of one feature's ids have one, and each place
            has a group of its own.
    """

    singles_S: Ints
    slots_G: Ints
    missing_G: Ints
    feature_G: Ints
    ordered_M: Ints
    first_M: Ints
    size_M: Ints
    groups_Q: Ints

    @classmethod
    def of(cls, layout: FeatureLayout) -> Self:
        """The design of a spec's features."""
        ordered = [each for each in layout.singles if each.ordered and each.size > LEAST_BUCKETS]
        first = np.unique([*(each.offset for each in layout.singles), *layout.slot_missing])
        of_ids_R = np.searchsorted(first, np.arange(layout.rows), side="right") - 1
        return cls(
            _ints([each.column for each in layout.singles]),
            _ints(layout.slots),
            _ints(layout.slot_missing),
            _ints(layout.slot_feature),
            _ints([each.column for each in ordered]),
            _ints([each.offset for each in ordered]),
            _ints([each.size for each in ordered]),
            np.concatenate([of_ids_R, len(first) + np.arange(len(ordered))]).astype(np.int64),
        )

    def matrix(self, ids_NC: Ids) -> sparse.csr_array:
        """The matrix of these requests, float32 (N, Q)."""
        rows, places = len(ids_NC), len(self.groups_Q) - len(self.ordered_M)
        indices_NK = np.concatenate(
            [
                ids_NC[:, self.singles_S],
                ids_NC[:, self.slots_G],
                np.broadcast_to(places + np.arange(len(self.ordered_M)), (rows, len(self.size_M))),
            ],
            axis=1,
        ).astype(np.int32)
        values_NK = np.concatenate(
            [
                np.ones((rows, len(self.singles_S)), np.float32),
                self._tag_shares(ids_NC),
                self._places(ids_NC),
            ],
            axis=1,
        )
        starts = np.arange(rows + 1, dtype=np.int32) * indices_NK.shape[1]
        shape = (rows, len(self.groups_Q))
        return sparse.csr_array((values_NK.ravel(), indices_NK.ravel(), starts), shape=shape)

    def _tag_shares(self, ids_NC: Ids) -> Floats:
        present_NG = (ids_NC[:, self.slots_G] != self.missing_G).astype(np.float32)
        same_GG = (self.feature_G[:, None] == self.feature_G[None, :]).astype(np.float32)
        shares_NG: Floats = present_NG / np.maximum(present_NG @ same_GG, 1)
        return shares_NG

    def _places(self, ids_NC: Ids) -> Floats:
        places_NM = ids_NC[:, self.ordered_M].astype(np.int64) - self.first_M
        scaled_NM = (places_NM - self.size_M / 2) / (self.size_M / 4)
        return np.where(places_NM > 0, scaled_NM, 0.0).astype(np.float32)


def _ints(values: object) -> Ints:
    return np.asarray(values, np.int64)
