"""Sources arrive and leave, with ids and qualities of their own; everything else stays."""

from hashlib import sha256

import numpy as np
import orjson
import pytest

from trainer.simulation.arrivals import (
    FREQUENT,
    KNOWN,
    LONGEST,
    MOST,
    PER_DAY,
    RARE,
    Arrivals,
    ArrivalShape,
    SourceKind,
)
from trainer.simulation.funnel import RATES_T
from trainer.simulation.simulator import BLOCK, START_MS, Simulator
from trainer.simulation.traffic import Traffic
from trainer.simulation.world import DAY_MS

DAY = 4 * BLOCK
SHIPPED = "0a8d73325dffddce873961798b7ec53ebb218881fd93a718c10dbf1709933e54"
"""sha256 over values, ids, times and outcomes of the world that ships: 5,000 requests of seed 7."""


@pytest.fixture(scope="module")
def lively() -> Simulator:
    return Simulator(7, requests_per_day=DAY, arrivals=FREQUENT)


@pytest.fixture(scope="module")
def two_days(lively: Simulator) -> Traffic:
    return lively.batch(0, 2 * DAY)


def test_the_shipped_world_is_what_it_was() -> None:
    """Without arrivals not a byte of the stream differs from the one behind shipped artifacts."""
    traffic = Simulator(7, requests_per_day=20_000).batch(4000, 5000)
    digest = sha256(b"".join(traffic.values) + "".join(traffic.ids).encode())
    for array in (traffic.timestamps, traffic.reached, traffic.data_poor):
        digest.update(np.ascontiguousarray(array).tobytes())
    assert digest.hexdigest() == SHIPPED
    assert np.all(traffic.arrived == KNOWN)


def test_a_lively_stream_is_reproducible_by_its_seed(two_days: Traffic) -> None:
    """Any stretch, asked for alone and in any order, is the same; another seed's is another."""
    again = Simulator(7, requests_per_day=DAY, arrivals=FREQUENT)
    for start in (DAY + 5, 17):
        part, same = again.batch(start, 3000), two_days[start : start + 3000]
        assert part.values == same.values
        assert np.array_equal(part.p_true, same.p_true)
        assert np.array_equal(part.arrived, same.arrived)
    other = Simulator(8, requests_per_day=DAY, arrivals=FREQUENT).batch(0, 3000)
    assert not np.array_equal(other.arrived, two_days.arrived[:3000])


def test_requests_of_known_inventory_are_those_of_the_fixed_world(two_days: Traffic) -> None:
    """Arrivals replace some requests; all others keep bytes, truth and outcome."""
    fixed = Simulator(7, requests_per_day=DAY).batch(0, 2 * DAY)
    assert fixed.ids == two_days.ids
    assert np.array_equal(fixed.timestamps, two_days.timestamps)
    known_N = two_days.arrived == KNOWN
    assert 0.5 < known_N.mean() < 0.95
    for row in np.flatnonzero(known_N)[::7].tolist():
        assert fixed.values[row] == two_days.values[row]
    assert np.array_equal(fixed.p_true[known_N], two_days.p_true[known_N])
    assert np.array_equal(fixed.reached[known_N], two_days.reached[known_N])


def test_an_arrived_source_has_ids_that_nobody_else_has(
    lively: Simulator, two_days: Traffic
) -> None:
    """A publisher brings publisher and items, an app itself, a geography its city and region."""
    assert lively.arrivals is not None
    docs = [orjson.loads(value) for value in two_days.values]
    names = {kind: [] for kind in SourceKind}
    known: dict[SourceKind, set[str]] = {kind: set() for kind in SourceKind}
    seen: dict[int, set[str]] = {}
    for doc, number in zip(docs, two_days.arrived.tolist(), strict=True):
        shop = doc.get("site") or doc.get("app") or doc.get("dooh")
        ids = {
            SourceKind.PUBLISHER: shop["publisher"]["id"],
            SourceKind.APP: shop["id"],
            SourceKind.GEOGRAPHY: doc["device"]["geo"]["city"] + doc["device"]["geo"]["region"],
        }
        if number == KNOWN:
            for kind, name in ids.items():
                known[kind].add(name)
        else:
            kind = lively.arrivals.source(number).kind
            names[kind].append(ids[kind])
            seen.setdefault(number, set()).add(ids[kind])
    for kind in SourceKind:
        assert names[kind]
        assert not set(names[kind]) & known[kind], kind
    assert all(len(each) == 1 for each in seen.values())
    assert len(set.union(*seen.values())) == len(seen)


@pytest.mark.parametrize("shape", [FREQUENT, RARE], ids=["frequent", "rare"])
def test_rates_are_conserved(shape: ArrivalShape) -> None:
    """Over many days, with sources of every quality, label rates are those of the funnel.

    True probabilities are averaged, so that the tolerance is for the draw of the sources alone:
    their quality has a standard deviation of more than a known request's.
    """
    found = []
    for seed in range(6):
        simulator = Simulator(seed, requests_per_day=BLOCK, arrivals=shape)
        p = np.concatenate([simulator.batch(10 * n * BLOCK, BLOCK).p_true for n in range(1, 5)])
        found.append([p[:, 0].mean(), np.average(p[:, 1], weights=p[:, 0]), *p[:, 2:].mean(axis=0)])
    found_ST = np.array(found)
    error_T = found_ST.std(axis=0, ddof=1) / np.sqrt(len(found_ST))
    assert np.all(np.abs(found_ST.mean(axis=0) - RATES_T) < 3 * error_T + 0.01 * np.array(RATES_T))


def test_some_sources_are_better_than_anything_known(two_days: Traffic) -> None:
    """The best source's mean value is above that of nearly all known requests."""
    value_N = two_days.p_true @ np.array([1.0, 0.0, 5.0, 20.0])
    means = [
        value_N[two_days.arrived == n].mean()
        for n in np.unique(two_days.arrived)
        if n != KNOWN and (two_days.arrived == n).sum() > 30
    ]
    known_N = value_N[two_days.arrived == KNOWN]
    assert max(means) > np.quantile(known_N, 0.9)
    assert min(means) < np.median(known_N)


def test_sources_come_stay_and_leave() -> None:
    """Their number and total share are as configured; none is there before or after its stay."""
    arrivals = Arrivals(
        ArrivalShape(per_day=30, share=0.01, stay_days=0.5, start_day=1), 3, START_MS
    )
    assert not arrivals.between(START_MS, START_MS + DAY_MS - 1)
    counts, shares = [], []
    for day in range(4, 60):
        at = START_MS + day * DAY_MS
        there = arrivals.between(at, at)
        counts.append(len(there))
        shares.append(sum(each.share for each in there))
        for each in there:
            assert each.start_ms <= at < each.end_ms
            assert each.end_ms - each.start_ms <= LONGEST * 0.5 * DAY_MS
            assert arrivals.source(each.number) == each
            assert each.number // PER_DAY == (each.start_ms - START_MS) // DAY_MS
    assert np.mean(counts) == pytest.approx(15, rel=0.15)
    assert np.mean(shares) == pytest.approx(0.15, rel=0.15)


def test_arrivals_never_take_the_whole_stream() -> None:
    """More sources than fit shrink alike."""
    crowded = ArrivalShape(per_day=400, share=0.02, stay_days=1.0)
    found = Simulator(2, requests_per_day=BLOCK, arrivals=crowded).batch(4 * BLOCK, BLOCK)
    assert (found.arrived != KNOWN).mean() == pytest.approx(MOST, abs=0.04)
