"""Simulated traffic is realistic and reproducible, and does not contain its true probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from models.features import FeatureSpec
from models.features.bid_request import decode
from models.tasks import DEFAULT_TASKS
from trainer.simulation.fragments import Form
from trainer.simulation.funnel import ORACLE_AUC_T, RATES_T, expected_auc
from trainer.simulation.requests import FORM_EIGHTHS, Renderer
from trainer.simulation.simulator import BLOCK, Simulator
from trainer.simulation.traffic import Traffic
from trainer.simulation.world import World
from trainer.traffic.examples import extract

SPEC = FeatureSpec.load("openrtb")


def same(left: Traffic, right: Traffic) -> bool:
    return (
        left.ids == right.ids
        and left.values == right.values
        and np.array_equal(left.timestamps, right.timestamps)
        and np.array_equal(left.p_true, right.p_true)
        and np.array_equal(left.reached, right.reached)
        and np.array_equal(left.delays_s, right.delays_s)
        and np.array_equal(left.data_poor, right.data_poor)
    )


def test_a_request_is_the_same_however_it_is_asked_for(traffic: Traffic) -> None:
    """Batch sizes, starting points and other requests before it change nothing."""
    again = Simulator(seed=7, requests_per_day=20_000)
    start, sizes = BLOCK - 3, [1, 2, 1, BLOCK, 17]
    for size in sizes:
        assert same(again.batch(start, size), traffic[start : start + size])
        start += size
    assert same(again.batch(5, 9000), traffic[5:9005])


def test_another_seed_is_another_market(traffic: Traffic) -> None:
    """Two seeds share no request, and no id."""
    other = Simulator(seed=8, requests_per_day=20_000).batch(0, 2000)
    assert not set(other.values) & set(traffic.values)
    assert not set(other.ids) & set(traffic.ids)


def test_impossible_batches_are_refused(simulator: Simulator) -> None:
    """A negative start and an empty batch are errors."""
    with pytest.raises(ValueError, match="start -1"):
        simulator.batch(-1, 5)
    with pytest.raises(ValueError, match="count 0"):
        simulator.batch(0, 0)


def test_requests_are_bid_requests_of_the_usual_size(traffic: Traffic) -> None:
    """The filter's decoder takes each; 1.3 to 1.45 KB on average; unique ids; time goes on."""
    docs = [orjson.loads(value) for value in traffic.values]
    assert [doc["id"] for doc in docs] == traffic.ids
    assert len(set(traffic.ids)) == len(traffic)
    times_N = np.array([doc["ext"]["ts"] for doc in docs])
    in_ms_N = times_N > 10**12
    assert np.array_equal(times_N[in_ms_N], traffic.timestamps[in_ms_N])
    assert np.array_equal(times_N[~in_ms_N], traffic.timestamps[~in_ms_N] // 1000)
    assert np.all(np.diff(traffic.timestamps) >= 0)
    assert 1300 <= np.mean([len(value) for value in traffic.values]) <= 1450
    assert [decode(value, 65_536) for value in traffic.values[:500]] == docs[:500]


def test_every_feature_is_filled_and_varies(traffic: Traffic) -> None:
    """Each of the 108 features is there in some requests, and not the same in all of them."""
    ids_NC = extract(SPEC.extractor(), traffic.values[:10_000], traffic.timestamps[:10_000])
    assert len(SPEC.features) == 108
    for feature in SPEC.features:
        rows = ids_NC[:, feature.column : feature.column + feature.slots] - feature.offset
        assert (rows != 0).any(axis=1).mean() > 0.02, feature.name
        assert len(np.unique(rows)) > 1, feature.name


def test_formats_have_the_shares_that_are_stated(traffic: Traffic) -> None:
    """OpenRTB 2.5 and 2.6; banner, video and native; app, site and screens out of home."""
    docs = [orjson.loads(value) for value in traffic.values]

    def share(*path: str | int, of: Sequence[dict[str, Any]] = docs) -> float:
        def there(node: Any) -> bool:
            for step in path:
                node = node[step] if isinstance(step, int) else node.get(step, {})
            return node != {}

        return float(np.mean([there(doc) for doc in of]))

    eighths = [share("source", "schain"), share("source", "ext")]
    assert eighths == pytest.approx([FORM_EIGHTHS[0] / 8, 1 - FORM_EIGHTHS[0] / 8], abs=0.01)
    loose = [doc for doc in docs if isinstance(doc["cur"], str)]
    assert len(loose) / len(docs) == pytest.approx(FORM_EIGHTHS[2] / 8, abs=0.01)
    assert share("imp", 0, "banner", "w", of=loose) == 0 < share("imp", 0, "banner", of=loose)
    kinds = [share("imp", 0, kind) for kind in ("banner", "video", "native")]
    assert kinds == pytest.approx([0.6, 0.22, 0.18], abs=0.01)
    assert share("app") + share("site") + share("dooh") == pytest.approx(1)
    assert min(share("app"), share("site")) > 0.3
    assert 0.01 < share("dooh") < 0.1
    new = share("imp", 0, "video", "plcmt") / (share("imp", 0, "video"))
    assert new == pytest.approx(FORM_EIGHTHS[0] / 8, abs=0.02)


def test_a_form_says_the_same_in_other_places() -> None:
    """Whatever its form, a request gives the ids that it gives in any other, but for ``plcmt``."""
    world = World(7)
    times_N = np.full(2000, 1_767_268_800_000)
    scene = world.scene(np.random.default_rng(5), times_N)
    bits_NK = np.random.default_rng(6).integers(0, 2**32, (2000, 5))
    ids = [f"r{number}" for number in range(2000)]
    first = {form: sum(FORM_EIGHTHS[:form]) for form in Form}
    found = {}
    for form in Form:
        bits_NK[:, 4] = first[form]
        values = Renderer(world).render(scene, ids, times_N, bits_NK)
        found[form] = extract(SPEC.extractor(), values, times_N)
    for feature in SPEC.features:
        own = slice(feature.column, feature.column + feature.slots)
        same = [np.array_equal(found[Form.NEW][:, own], found[form][:, own]) for form in Form]
        assert all(same) == (feature.name != "video_plcmt"), feature.name


def test_rates_are_those_of_the_paper(traffic: Traffic) -> None:
    """Positive rates on each task's own population are those of the paper's Table I."""
    click, online, cart, deal = traffic.reached.T
    found = [click.mean(), online[click].mean(), cart.mean(), deal.mean()]
    assert found == pytest.approx(RATES_T, rel=0.06)


def test_truth_is_calibrated(traffic: Traffic) -> None:
    """In every tenth of the true probability, events happen as often as it says."""
    everywhere = np.ones(len(traffic), np.bool_)
    for task, inside in enumerate([everywhere, traffic.reached[:, 0], everywhere, everywhere]):
        p, label = traffic.p_true[inside, task], traffic.reached[inside, task]
        for part in np.array_split(np.argsort(p), 10):
            tolerance = 5 * np.sqrt(p[part].mean() / len(part))
            assert label[part].mean() == pytest.approx(p[part].mean(), abs=tolerance)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_best_possible_model_is_a_little_better_than_the_papers(seed: int) -> None:
    """The true probabilities reach the AUC asked for, whatever the seed."""
    p = Simulator(seed, requests_per_day=16_384).batch(0, 16_384).p_true
    found = [
        expected_auc(p[:, 0]),
        expected_auc(p[:, 1], p[:, 0]),
        expected_auc(p[:, 2]),
        expected_auc(p[:, 3]),
    ]
    assert found == pytest.approx(ORACLE_AUC_T, abs=0.012)


def test_a_simple_model_learns_most_of_it(traffic: Traffic) -> None:
    """A logistic regression comes near the oracle, not above it, and errs where data are few."""
    ids_NC = extract(SPEC.extractor(), traffic.values, traffic.timestamps)
    count, columns = ids_NC.shape
    pointers = np.arange(0, ids_NC.size + 1, columns)
    data = np.ones(ids_NC.size, np.float32)
    rows = csr_matrix((data, ids_NC.ravel(), pointers), shape=(count, SPEC.rows))
    train, test = slice(0, 32_000), slice(32_000, None)
    for task, low in ((0, 0.75), (2, 0.70)):
        label = traffic.reached[:, task]
        model = LogisticRegression(C=0.01, max_iter=40, tol=1e-2).fit(rows[train], label[train])
        p_N, p_true_N = model.predict_proba(rows[test])[:, 1], traffic.p_true[test, task]
        assert low < roc_auc_score(label[test], p_N) < roc_auc_score(label[test], p_true_N)
        error_N, poor_N = np.abs(p_N - p_true_N), traffic.data_poor[test]
        assert 0.03 < poor_N.mean() < 0.15
        assert error_N[poor_N].mean() > 1.2 * error_N[~poor_N].mean()


def test_the_truth_is_not_in_the_request() -> None:
    """Worlds that differ in their truth alone send the same bytes under the same ids."""
    day = 2 * BLOCK
    calm = Simulator(3, drift=0.0, requests_per_day=day).batch(day, BLOCK)
    turned = Simulator(3, drift=np.pi / 2, requests_per_day=day).batch(day, BLOCK)
    assert calm.values == turned.values
    assert calm.ids == turned.ids
    assert not np.array_equal(calm.p_true, turned.p_true)


def test_drift_turns_what_is_worthwhile() -> None:
    """A quarter turn later the old order of requests says little; the rates stay about the same."""
    day = 2 * BLOCK
    before = Simulator(3, drift=0.0, requests_per_day=day).batch(day, BLOCK).p_true[:, 0]
    after = Simulator(3, drift=np.pi / 2, requests_per_day=day).batch(day, BLOCK).p_true[:, 0]
    little = Simulator(3, drift=0.05, requests_per_day=day).batch(day, BLOCK).p_true[:, 0]
    assert np.corrcoef(before, little)[0, 1] > 0.99
    assert np.corrcoef(before, after)[0, 1] < 0.8
    assert after.mean() == pytest.approx(before.mean(), abs=0.06)


def test_the_funnel_is_nested_and_its_delays_grow(traffic: Traffic) -> None:
    """No step without the one before it; each comes later; a few come after their window."""
    reached, delays_s = traffic.reached, traffic.delays_s
    assert not np.any(reached[:, 1:] & ~reached[:, :-1])
    assert np.all(np.diff(delays_s, axis=1) > 0)
    medians = [np.median(delays_s[reached[:, t], t]) for t in range(4)]
    assert medians[0] < 60 < medians[1] < 600 < medians[2] < 20_000 < medians[3]
    late = delays_s[:, 3][reached[:, 3]] > DEFAULT_TASKS["deal"].window_s
    assert 0 < late.mean() < 0.05
