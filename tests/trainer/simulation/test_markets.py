"""The families of markets differ in kind and say what is true; the standard one stays as it was."""

from dataclasses import replace
from hashlib import blake2b

import numpy as np
import orjson
import pytest

from trainer.simulation.channels import CHANNELS
from trainer.simulation.effects import Effects
from trainer.simulation.families import ClusterEffects
from trainer.simulation.funnel import RATES_T, expected_auc
from trainer.simulation.markets import MARKETS, STANDARD, MarketError, market_of
from trainer.simulation.simulator import BLOCK, START_MS, Simulator
from trainer.simulation.world import Float64Array, Scene, World

DAY = 10 * BLOCK
OTHERS = [name for name in MARKETS if name != STANDARD.name]


def scene_of(name: str, rows: int = 6000) -> Scene:
    market = MARKETS[name]
    times_N = START_MS + np.arange(rows) * 60_000
    return World(5, market.world, market.salt).scene(np.random.default_rng(1), times_N)


def effects_of(name: str, scene: Scene) -> Effects:
    return MARKETS[name].effects(np.random.default_rng(2), scene)


def swapped(effects: Effects, scene: Scene, key: str) -> Float64Array:
    """What every request's logits gain if its code ``key`` is 1 instead of 0, (N, 4)."""
    first, second = (
        effects.logits(replace(scene, codes=scene.codes | {key: np.full(len(scene), value)}))
        for value in (0, 1)
    )
    return second - first


def test_the_standard_market_is_the_stream_that_it_was() -> None:
    """Bytes, outcomes and truth of a stretch are those of the time before there were families."""
    traffic = Simulator(3, requests_per_day=20_000).batch(0, 3000)
    said = blake2b(b"\n".join(traffic.values) + traffic.reached.tobytes(), digest_size=8)
    assert said.hexdigest() == "4eb5c342311578d6"
    means_T = [0.6221904805809199, 0.5257562041571446, 0.061286631895681024, 0.022399735714382887]
    assert traffic.p_true.mean(axis=0) == pytest.approx(means_T, abs=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_rates_and_aucs_are_those_stated(name: str) -> None:
    """The rates are the standard market's; the true probabilities reach the AUC of the family."""
    market = MARKETS[name]
    traffic = Simulator(4, requests_per_day=DAY // 7, market=market).batch(0, DAY)
    p = traffic.p_true
    found = [
        expected_auc(p[:, 0]),
        expected_auc(p[:, 1], p[:, 0]),
        expected_auc(p[:, 2]),
        expected_auc(p[:, 3]),
    ]
    assert found == pytest.approx(market.shape.auc_T, abs=0.012)
    click, online, cart, deal = traffic.reached.T
    rates = [click.mean(), online[click].mean(), cart.mean(), deal.mean()]
    assert rates == pytest.approx(RATES_T, rel=0.12)
    for task in (0, 2, 3):
        for part in np.array_split(np.argsort(p[:, task]), 5):
            tolerance = 5 * np.sqrt(p[part, task].mean() / len(part))
            assert traffic.reached[part, task].mean() == pytest.approx(
                p[part, task].mean(), abs=tolerance
            )


def test_markets_of_one_seed_share_nothing() -> None:
    """No request and no id is in two families, and a stretch is the same however it is read."""
    streams = {
        name: Simulator(6, requests_per_day=DAY, market=MARKETS[name])
        for name in ("standard", "forest", "channels")
    }
    found = {name: stream.batch(0, 600) for name, stream in streams.items()}
    for part in ("ids", "values"):
        together = [set(getattr(each, part)) for each in found.values()]
        assert len(set.union(*together)) == sum(map(len, together))
    again = Simulator(6, requests_per_day=DAY, market=MARKETS["forest"])
    assert again.batch(200, 50).values == found["forest"].values[200:250]


def test_an_unknown_market_is_refused_with_the_known_ones() -> None:
    """The message names what is similar."""
    with pytest.raises(MarketError, match="'forrest' is unknown; did you mean 'forest'"):
        market_of("forrest")


def test_sparse_effects_add_up_and_are_few() -> None:
    """A code's effect is the same for every request, and most codes have none."""
    scene = scene_of("sparse")
    effects = effects_of("sparse", scene)
    keys = [key for key in scene.codes if key not in {"known", "user", "segment", "os"}]
    gains = {key: swapped(effects, scene, key) for key in keys}
    for gain_NT in gains.values():
        np.testing.assert_allclose(gain_NT, np.broadcast_to(gain_NT[:1], gain_NT.shape), atol=1e-9)
    assert np.mean([bool(np.abs(gain_NT).max() > 1e-9) for gain_NT in gains.values()]) < 0.4


def test_the_forest_is_more_than_a_sum() -> None:
    """What a code does depends on the others far more than in the standard market."""
    spreads = {}
    for name in ("standard", "forest"):
        scene = scene_of(name)
        effects = effects_of(name, scene)
        keys = ("category", "exchange", "age", "connection", "pos", "gender", "level", "app")
        spreads[name] = np.mean(
            [swapped(effects, scene, key).std(axis=0).mean() for key in keys], axis=0
        )
    assert spreads["forest"] > 2 * spreads["standard"]


def test_clusters_have_functions_of_their_own() -> None:
    """Within a cluster the effect of a code is the same for all; between clusters it is not."""
    scene = scene_of("clusters")
    effects = effects_of("clusters", scene)
    assert isinstance(effects, ClusterEffects)
    gain_NT, cluster_N = swapped(effects, scene, "category"), effects.clusters(scene)
    assert len(np.unique(cluster_N)) == 12
    means_GT = np.stack([gain_NT[cluster_N == cluster].mean(axis=0) for cluster in range(12)])
    np.testing.assert_allclose(gain_NT, means_GT[cluster_N], atol=1e-9)
    assert (means_GT.std(axis=0) > 0.1).all()


def test_smooth_markets_are_periodic_and_have_heavy_tails() -> None:
    """The hour matters as the category says, and the ten commonest items have little traffic."""
    scene = scene_of("smooth")
    gain_NT = swapped(effects_of("smooth", scene), scene, "hour")
    category_N = scene.codes["category"]
    means_GT = np.stack([gain_NT[category_N == category].mean(axis=0) for category in range(24)])
    np.testing.assert_allclose(gain_NT, means_GT[category_N] + 0 * gain_NT, atol=1e-9)
    assert means_GT.std() > 0.005

    def common(name: str) -> float:
        counts = np.bincount(scene_of(name).codes["item"])
        return float(np.sort(counts)[-10:].sum() / counts.sum())

    assert common("smooth") < 0.4 * common("standard")


def test_channels_have_sizes_rates_and_effects_of_their_own() -> None:
    """The device type says the channel; the smallest has 6 % of the traffic and its own truth."""
    traffic = Simulator(9, requests_per_day=DAY, market=MARKETS["channels"]).batch(0, DAY)
    kinds_N = np.array([orjson.loads(value)["device"]["devicetype"] for value in traffic.values])
    rates = {}
    for channel in CHANNELS:
        inside_N = kinds_N == channel.devicetype
        assert inside_N.mean() == pytest.approx(channel.share, abs=0.012)
        rates[channel.devicetype] = traffic.p_true[inside_N].mean(axis=0)
    assert rates[4][0] > rates[2][0] + 0.1
    assert rates[4][3] > 1.5 * rates[3][3]
    scene = scene_of("channels")
    gain_NT = swapped(effects_of("channels", scene), scene, "exchange")
    kinds_N = scene.codes["devicetype"]
    means_S = [gain_NT[kinds_N == each.devicetype].mean(axis=0)[0] for each in CHANNELS]
    assert np.std(means_S) > 0.02
