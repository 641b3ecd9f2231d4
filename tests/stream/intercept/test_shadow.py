"""A shadow scores a share of the requests beside the worker, and changes nothing."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import orjson
import pytest

from models.artifact import load_artifact
from models.features import FeatureSpec
from models.settings import PolicySettings
from stream.intercept.candidates import Candidate
from stream.intercept.challengers import Challenger
from stream.intercept.interceptor import Intercepted, Interceptor
from stream.intercept.loaded_model import LoadedModel
from stream.intercept.shadow import Shadow
from stream.messages import ModelRole
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy
from tests.stream.intercept.test_interceptor import Input
from tests.tiny_artifact import SPEC_TEXT, Make, tiny_student

DEADLINE_S = 30.0
SETTINGS = PolicySettings(rate=0.5, weights={"click": 1.0}, uncertainty_source="own")


def load(make: Make, name: str, **changes: object) -> LoadedModel:
    return LoadedModel(load_artifact(make(name, version=name, **changes)), threads=1, batch=512)


def requests(start: int, count: int) -> list[Input]:
    return [
        Input(i, orjson.dumps({"id": f"r{i}", "imp": [{}], "site": {"id": f"s{i % 41}"}}))
        for i in range(start, start + count)
    ]


class Bench:
    """An interceptor with a shadow, and what was counted."""

    def __init__(self, serving: LoadedModel, shadow: LoadedModel | None, share: float = 0.5):
        self.metrics = WorkerMetrics()
        self.failed: list[Exception] = []
        policy = Policy(SETTINGS, serving.tasks)
        self.interceptor = Interceptor(policy, self.metrics, max_value_bytes=2000)
        self.interceptor.model = serving
        self.shadow = Shadow(policy, self.metrics, self.fail, most=0.5, max_value_bytes=2000)
        if shadow is not None:
            candidate = Candidate("registry/shadow", shadow.version, "0" * 64)
            self.shadow.challenger = Challenger(candidate, ModelRole.SHADOW, share, shadow)
            self.interceptor.shadow = self.shadow

    def fail(self, _model: LoadedModel, error: Exception) -> None:
        self.failed.append(error)
        self.shadow.challenger = None

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def verdicts(self) -> dict[tuple[str, str], int]:
        both = ("pass", "block")
        return {
            (actual, would): int(
                self.count("weir_shadow_verdicts_total", actual=actual, would=would)
            )
            for actual in both
            for would in both
        }

    async def decide(self, records: Sequence[Input]) -> Intercepted:
        """Decide a batch and wait for the shadow."""
        result = self.interceptor.intercept(records)
        await until(lambda: not self.shadow._busy)
        return result


async def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.002)


async def test_the_same_model_would_decide_the_same(make_artifact: Make) -> None:
    """Would-be decisions are the decisions, but for rewards at the threshold itself."""
    serving = load(make_artifact, "v1")
    bench = Bench(serving, load(make_artifact, "v2"))
    for batch in range(8):
        await bench.decide(requests(500 * batch, 500))
    found = bench.verdicts
    assert found["pass", "block"] == 0
    assert found["block", "pass"] < 100  # of 41 rewards, many are equal
    assert 1700 < sum(found.values()) < 2300  # half of 4,000, by id
    for family in ("scores", "uncertainties"):
        for task in serving.tasks.names:
            own, other = (
                bench.count(f"weir_shadow_{family}_total", task=task, role=role)
                for role in ("serve", "shadow")
            )
            assert own == pytest.approx(other)
            assert own > 0
    bench.shadow.stop()


async def test_another_model_is_counted_where_it_differs(make_artifact: Make) -> None:
    """Scores turned round: much of what passes would have been blocked, and the other way round."""
    inverted = tiny_student(weights=[-0.1, -0.1, -0.1]).SerializeToString()
    bench = Bench(load(make_artifact, "v1"), load(make_artifact, "v2", onnx_bytes=inverted))
    for batch in range(4):
        await bench.decide(requests(500 * batch, 500))
    assert bench.verdicts["pass", "block"] > 100
    own, other = (
        bench.count("weir_shadow_scores_total", task="click", role=role)
        for role in ("serve", "shadow")
    )
    assert other < own
    bench.shadow.stop()


async def test_a_shadow_with_another_spec_reads_the_requests_itself(make_artifact: Make) -> None:
    """Its scores are those that it gives to its own features."""
    spec = SPEC_TEXT.replace("site.id", "app.id")
    other = load(make_artifact, "v2", spec=spec, spec_hash=FeatureSpec.parse(spec, "x").hash)
    bench = Bench(load(make_artifact, "v1"), other)
    await bench.decide(requests(0, 400))
    count = sum(bench.verdicts.values())
    missing_NC = other.extractor.extract([{"id": "r", "imp": [{}]}], np.zeros(1, np.int64))
    (score,) = other.scorer.score(missing_NC)[0][:, 0]
    total = bench.count("weir_shadow_scores_total", task="click", role="shadow")
    assert total == pytest.approx(score * count, rel=1e-4)
    bench.shadow.stop()


async def test_decisions_are_the_same_with_and_without(make_artifact: Make) -> None:
    serving, other = load(make_artifact, "v1"), load(make_artifact, "v2")
    one, two = Bench(serving, other), Bench(serving, None)
    for batch in range(3):
        records = requests(300 * batch, 300)
        shadowed, alone = await one.decide(records), await two.decide(records)
        assert shadowed.passed == alone.passed
        assert shadowed.blocked == alone.blocked
    assert sum(two.verdicts.values()) == 0
    one.shadow.stop()


async def test_the_settings_bound_the_share(make_artifact: Make) -> None:
    """Half at most, though all were announced; the same requests each time."""
    bench = Bench(load(make_artifact, "v1"), load(make_artifact, "v2"), share=1.0)
    await bench.decide(requests(0, 1000))
    assert 420 < sum(bench.verdicts.values()) < 580
    bench.shadow.stop()


async def test_a_slow_shadow_is_skipped_not_waited_for(
    make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it hangs, batches are decided and their share is counted as skipped."""
    other = load(make_artifact, "v2")
    bench = Bench(load(make_artifact, "v1"), other)
    hang = threading.Event()
    score = other.scorer.score

    def slow(ids_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hang.wait(DEADLINE_S)
        return score(ids_NC)

    monkeypatch.setattr(other.scorer, "score", slow)
    for batch in range(4):
        bench.interceptor.intercept(requests(500 * batch, 500))
    assert bench.count("weir_shadow_skipped_total") > 600
    assert sum(bench.verdicts.values()) == 0
    hang.set()
    await until(lambda: sum(bench.verdicts.values()) > 0)
    bench.shadow.stop()


async def test_one_that_fails_is_reported_once(make_artifact: Make) -> None:
    """The worker goes on; nothing is offered to it any more."""
    other = load(make_artifact, "v2")
    bench = Bench(load(make_artifact, "v1"), other)
    other.scorer._session = None  # every pass raises
    await bench.decide(requests(0, 200))
    await bench.decide(requests(200, 200))
    assert len(bench.failed) == 1
    assert "onnxruntime failed" in str(bench.failed[0])
    bench.shadow.stop()


async def test_an_answer_for_a_shadow_that_was_replaced_is_dropped(make_artifact: Make) -> None:
    bench = Bench(load(make_artifact, "v1"), load(make_artifact, "v2"))
    bench.interceptor.intercept(requests(0, 200))
    bench.shadow.challenger = None
    await until(lambda: not bench.shadow._busy)
    assert sum(bench.verdicts.values()) == 0
    bench.shadow.stop()
