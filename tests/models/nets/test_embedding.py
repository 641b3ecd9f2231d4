import numpy as np
import torch

from models.nets.embedding import FeatureEmbedding, FeatureLayout, Single


def test_tags_are_averaged_over_those_present(layout: FeatureLayout) -> None:
    """Single features keep their row; of a tag feature the rows present are averaged."""
    assert (layout.features, layout.columns, layout.rows) == (5, 8, 42)
    net = FeatureEmbedding(layout, width=2)
    table = net.table_RD.detach().numpy()
    # site 3; segments 5, missing, 7; app missing; floor 2; categories: none at all
    ids_NC = torch.tensor([[3, 8 + 5, 8, 8 + 7, 24, 32 + 2, 38, 38]])
    expected = [
        table[3],
        table[24],
        table[34],
        (table[13] + table[15]) / 2,
        np.zeros(2, np.float32),
    ]
    np.testing.assert_allclose(
        net(ids_NC).detach().numpy(), np.concatenate(expected)[None], atol=1e-7
    )


def test_a_spec_without_tags_needs_no_pooling() -> None:
    """With single-valued features only, the vectors are the table's rows side by side."""
    layout = FeatureLayout(
        rows=6,
        columns=2,
        singles=(Single("a", 0, 0, 3, ordered=True), Single("b", 1, 3, 3, ordered=False)),
        slots=(),
        slot_missing=(),
        slot_feature=(),
    )
    net = FeatureEmbedding(layout, width=3)
    np.testing.assert_array_equal(
        net(torch.tensor([[1, 4]])).detach().numpy(),
        net.table_RD[[1, 4]].detach().numpy().reshape(1, -1),
    )
