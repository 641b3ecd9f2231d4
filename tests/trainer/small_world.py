"""A world of three tasks that trains in a second: spec, tasks, configuration and requests."""

from datetime import UTC, datetime

import numpy as np
import polars as pl

from models.data.examples import example_schema
from models.features import FeatureSpec
from models.tasks import Task, TaskSet
from trainer.training.config import StudentTraining, TeacherTraining, TrainConfig

SPEC = FeatureSpec.parse(
    """
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 12

[[feature]]
name = "segments"
kind = "tags"
path = "user.data[*].segment[*].id"
size = 12
slots = 2

[[feature]]
name = "app"
kind = "categorical"
path = "app.id"
size = 12
""",
    "test",
)
TASKS = TaskSet(
    [
        Task(name="click", window_s=60),
        Task(name="online", population="click", window_s=60),
        Task(name="deal", window_s=60),
    ]
)
CONFIG = TrainConfig(
    teacher=TeacherTraining(batch=64, epochs=4, snapshots=5, samples=8),
    distillation=StudentTraining(batch=128, epochs=6, min_steps=0),
)
CREATED = datetime(2024, 5, 1, tzinfo=UTC)


def frame(rows: int, seed: int, labelled: bool = True) -> pl.DataFrame:
    """Requests whose site decides about clicks, and whose app decides about what follows.

    Online is drawn the other way round outside its population, so that a model which learns
    from those rows gets it wrong.
    """
    rng = np.random.default_rng(seed)
    ids_NC = rng.integers(0, 12, (rows, 4))
    good_site, good_app = ids_NC[:, 0] % 2 == 0, ids_NC[:, 3] % 2 == 0
    click = rng.random(rows) < np.where(good_site, 0.8, 0.2)
    online = rng.random(rows) < np.where(good_app == click, 0.85, 0.15)
    deal = click & (rng.random(rows) < np.where(good_app, 0.5, 0.05))
    labels = {"label_click": click, "label_online": online, "label_deal": deal}
    return pl.DataFrame(
        {
            "request_id": [f"r{n}" for n in range(rows)],
            "ts": rng.permutation(rows) * 1000,
            "spec": [SPEC.hash] * rows,
            "features": (ids_NC + np.array([0, 12, 12, 24])).tolist(),
            **{name: label.astype(int) if labelled else None for name, label in labels.items()},
            "model": "",
            "reason": "score",
            "e": None,
            "threshold": None,
            "propensity": 1.0,
        },
        schema=example_schema(TASKS),
    )
