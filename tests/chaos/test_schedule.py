"""The schedule of failures."""

from collections import Counter

from chaos.schedule import KILLS, Dose, Kind, draw

DOSE = Dose(kills=10, freezes=2, stops=3, scales=4, brokers=16)


def test_everything_follows_from_the_seed() -> None:
    """The same seed draws the same events, another one others."""
    assert draw(1, DOSE) == draw(1, DOSE) != draw(2, DOSE)


def test_the_dose_is_kept() -> None:
    """As many of each kind as asked for, kills of all three kinds, every way to hit a node once."""
    events = draw(3, DOSE)
    counts = Counter(event.kind for event in events)
    assert sum(counts[kind] for kind in KILLS) == 10
    assert all(counts[kind] for kind in KILLS)
    assert (counts[Kind.FREEZE], counts[Kind.STOP], counts[Kind.SCALE]) == (2, 3, 4)
    ways = {(e.kind, e.target, e.bounce) for e in events if e.target is not None}
    assert len(ways) == 16


def test_a_single_failure_of_a_node_is_a_bounce() -> None:
    """The least there is comes first, whatever the seed."""
    for seed in range(20):
        (event,) = draw(seed, Dose(0, 0, 0, 0, brokers=1))
        assert event.bounce
