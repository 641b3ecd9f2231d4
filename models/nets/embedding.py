"""From feature ids to one dense vector: a table shared by all features, with pooled tags.

N requests, C columns of ids, S single-valued features, G slots of tag features, P tag features,
F = S + P features, D embedding width, R rows of the table.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.features import FeatureSpec
from models.features.kinds.numeric import NumericFeature
from models.nets.config import Numeric
from models.nets.numeric import PeriodicVectors, SoftBuckets
from models.suggestions import did_you_mean

INITIAL_STD = 0.05


@dataclass(frozen=True, slots=True)
class Single:
    """A single-valued feature.

    Attributes:
        name: Its name in the spec.
        column: Its column of ``ids_NC``.
        offset: Its first row of the table, which means "missing".
        size: Number of its rows.
        ordered: Whether its rows are buckets of numbers, in order.
    """

    name: str
    column: int
    offset: int
    size: int
    ordered: bool


@dataclass(frozen=True, slots=True)
class FeatureLayout:
    """The columns of ``ids_NC`` that belong to each feature of a spec.

    Attributes:
        rows: R.
        columns: C.
        singles: The S single-valued features.
        slots: The G columns of tag features.
        slot_missing: For each slot, the id that means "no tag".
        slot_feature: For each slot, the index of its tag feature, 0 to P - 1.
    """

    rows: int
    columns: int
    singles: tuple[Single, ...]
    slots: tuple[int, ...]
    slot_missing: tuple[int, ...]
    slot_feature: tuple[int, ...]

    @classmethod
    def of(cls, spec: FeatureSpec) -> Self:
        """The layout of a spec; features with more than one slot are pooled."""
        singles: list[Single] = []
        slots: list[tuple[int, int, int]] = []
        pooled = 0
        for feature in spec.features:
            if feature.slots == 1:
                ordered = feature.kind == NumericFeature.kind
                singles.append(
                    Single(feature.name, feature.column, feature.offset, feature.size, ordered)
                )
                continue
            columns = range(feature.column, feature.column + feature.slots)
            slots += [(column, feature.offset, pooled) for column in columns]
            pooled += 1
        return cls(
            rows=spec.rows,
            columns=spec.columns,
            singles=tuple(singles),
            slots=tuple(column for column, _, _ in slots),
            slot_missing=tuple(missing for _, missing, _ in slots),
            slot_feature=tuple(feature for _, _, feature in slots),
        )

    def single(self, name: str) -> Single:
        """The single-valued feature of this name.

        Raises:
            ValueError: If there is none.
        """
        known = {single.name: single for single in self.singles}
        if name not in known:
            raise ValueError(
                f"teacher.scenario: {name!r} is no single-valued feature of the spec; "
                f"{did_you_mean(name, known)}"
            )
        return known[name]

    @property
    def pooled(self) -> int:
        """P, the number of pooled features."""
        return max(self.slot_feature, default=-1) + 1

    @property
    def features(self) -> int:
        """F, the number of vectors of an embedded request."""
        return len(self.singles) + self.pooled


class FeatureEmbedding(nn.Module):
    """Embeds ids; the tags of a feature are averaged, without the missing ones.

    Args:
        layout: Columns of the features.
        width: D.
        numeric: How numeric features are embedded.
    """

    singles_S: Tensor
    slots_G: Tensor
    slot_missing_G: Tensor
    pool_GP: Tensor

    def __init__(self, layout: FeatureLayout, width: int, numeric: Numeric = "buckets") -> None:
        super().__init__()
        self.layout = layout
        self.width = width
        self.table_RD = nn.Parameter(torch.randn(layout.rows, width) * INITIAL_STD)
        ordered = [(place, s) for place, s in enumerate(layout.singles) if s.ordered]
        spans = [(place, single.offset, single.size) for place, single in ordered]
        self.soft = SoftBuckets(spans) if numeric == "soft" and spans else None
        self.periodic = PeriodicVectors(spans, width) if numeric == "periodic" and spans else None
        pool_GP = torch.zeros(len(layout.slots), layout.pooled)
        for slot, feature in enumerate(layout.slot_feature):
            pool_GP[slot, feature] = 1
        columns = [single.column for single in layout.singles]
        self.register_buffer("singles_S", torch.tensor(columns, dtype=torch.int64))
        self.register_buffer("slots_G", torch.tensor(layout.slots, dtype=torch.int64))
        self.register_buffer("slot_missing_G", torch.tensor(layout.slot_missing, dtype=torch.int64))
        self.register_buffer("pool_GP", pool_GP)

    @property
    def out_width(self) -> int:
        """F * D, the width of an embedded request."""
        return self.layout.features * self.width

    def forward(self, ids_NC: Tensor) -> Tensor:
        """Vectors of shape (N, F * D): first the single-valued features, then the pooled ones.

        Args:
            ids_NC: Feature ids, of any integer type.
        """
        ids_NC = ids_NC.long()
        ids_NS = ids_NC[:, self.singles_S]
        singles_NSD = functional.embedding(ids_NS, self.table_RD)
        if self.soft is not None:
            singles_NSD = self.soft(singles_NSD, ids_NS, self.table_RD)
        if self.periodic is not None:
            singles_NSD = self.periodic(singles_NSD, ids_NS)
        if not self.layout.slots:
            return singles_NSD.flatten(1)
        ids_NG = ids_NC[:, self.slots_G]
        present_NG = (ids_NG != self.slot_missing_G).to(self.table_RD.dtype)
        count_NP = (present_NG @ self.pool_GP).clamp(min=1)
        share_NG = present_NG / (count_NP @ self.pool_GP.T)
        slots_NGD = functional.embedding(ids_NG, self.table_RD) * share_NG.unsqueeze(2)
        pooled_NPD = torch.einsum("ngd,gp->npd", slots_NGD, self.pool_GP)
        return torch.cat([singles_NSD, pooled_NPD], dim=1).flatten(1)
