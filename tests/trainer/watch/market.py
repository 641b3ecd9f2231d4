"""A store of what a tiny version passed, and artifacts that are right or wrong about it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.features import FeatureSpec
from models.tasks import TaskSet
from stream.messages import Decision, Outcome, Reason, TrainingExample
from tests.tiny_artifact import SPEC_TEXT, TASKS, Make, tiny_student
from trainer.store.example_store import ExampleStore, batch_of, example_rows, outcome_rows
from trainer.store.windows import AttributionWindows

SPEC = FeatureSpec.parse(SPEC_TEXT, "test")
TASK_SET = TaskSet(TASKS)
WINDOWS = AttributionWindows(TASK_SET, 1.0, 5.0)
START = 1_790_000_000_000 // 3_600_000 * 3_600_000
TRUE = (-0.05, -0.05, -0.05)
CLOSE = (-0.051, -0.05, -0.049)
WRONG = (0.05, 0.05, 0.05)


def artifact(make: Make, version: str, weights: Sequence[float] = TRUE) -> Path:
    student = tiny_student(weights=weights).SerializeToString()
    return make(version, version=version, onnx_bytes=student)


def examples(
    count: int, version: str = "v2", first: int = 0, seed: int = 0
) -> list[TrainingExample]:
    """Passed requests, ten per second."""
    rng = np.random.default_rng(seed)
    ids_NC = np.stack([rng.integers(0, 8, count), *rng.integers(8, 24, (2, count))], axis=1)
    decision = Decision(version, 0.5, 0.1, Reason.SCORE, 1.0, 7)
    return [
        TrainingExample(f"r{first + n}", START + 100 * (first + n), SPEC.hash, ids, decision, 1.0)
        for n, ids in enumerate(ids_NC.tolist())
    ]


def outcomes(made: Sequence[TrainingExample], seed: int = 1) -> list[Outcome]:
    """Clicks, and as many online among these, by the weights that are true."""
    rng = np.random.default_rng(seed)
    found = []
    for one in made:
        p = 1 / (1 + np.exp(-np.dot(one.features, TRUE)))
        clicked, online = rng.random(2) < p
        if clicked:
            found.append(Outcome(one.request_id, "click", one.ts + 1_000))
        if clicked and online:
            found.append(Outcome(one.request_id, "online", one.ts + 2_000))
    return found


def stored(
    folder: Path, made: Sequence[TrainingExample], hits: Sequence[Outcome], watermark_ms: int
) -> ExampleStore:
    store = ExampleStore(str(folder), "examples", "outcomes")
    first = store.offset("examples", 0), store.offset("outcomes", 0)
    batch = batch_of(
        example_rows(made, 0, first[0]),
        outcome_rows(hits, 0, first[1]),
        {0: first[0] + len(made)},
        {0: first[1] + len(hits)},
    )
    store.append(batch, watermark_ms)
    return store
