import torch

from models.nets.embedding import FeatureEmbedding, FeatureLayout


def floors(layout: FeatureLayout, net: FeatureEmbedding) -> torch.Tensor:
    """Vectors of the numeric feature at each of its ids, (6, D)."""
    floor = layout.single("floor")
    ids_NC = torch.zeros(floor.size, layout.columns, dtype=torch.int64)
    ids_NC[:] = torch.tensor([0, 8, 8, 8, 24, 32, 38, 38])
    ids_NC[:, floor.column] = torch.arange(floor.offset, floor.offset + floor.size)
    place = [single.name for single in layout.singles].index("floor")
    return net(ids_NC).unflatten(1, (-1, net.width))[:, place]


def test_soft_buckets_mix_their_neighbours(layout: FeatureLayout) -> None:
    """Half of the own vector, a quarter of each neighbour's; at the ends, its own; not missing."""
    net = FeatureEmbedding(layout, 3, "soft")
    own = net.table_RD[32:38]
    found = floors(layout, net)
    torch.testing.assert_close(found[0], own[0])
    torch.testing.assert_close(found[1], 0.75 * own[1] + 0.25 * own[2])
    torch.testing.assert_close(found[3], 0.5 * own[3] + 0.25 * (own[2] + own[4]))
    torch.testing.assert_close(found[5], 0.75 * own[5] + 0.25 * own[4])


def test_periodic_vectors_are_added_by_place(layout: FeatureLayout) -> None:
    """Waves of the place from 0 to 1, added to the bucket's own vector; missing stays as it is."""
    net = FeatureEmbedding(layout, 3, "periodic")
    assert net.periodic is not None
    own = net.table_RD[32:38]
    found = floors(layout, net)
    torch.testing.assert_close(found[0], own[0])
    for bucket in range(1, 6):
        angles = 2 * torch.pi * (bucket - 1) / 4 * net.periodic.frequencies_MP[0]
        waves = torch.cat([angles.sin(), angles.cos()])
        torch.testing.assert_close(found[bucket], own[bucket] + waves @ net.periodic.linear_MPD[0])
