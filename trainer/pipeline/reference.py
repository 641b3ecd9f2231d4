"""What an artifact keeps of its training's requests: counts, and the canary batch.

Drift is measured against the counts (:mod:`models.artifact.reference`). Neither has anyone's
request.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from models.artifact.canary import CanaryBatch
from models.artifact.reference import Reference, TableCounts
from models.features import FeatureSpec
from models.tasks import TaskSet
from trainer.training.rows import TrainingRows

CHUNK: Final = 4096
MAX_CHUNKS: Final = 64
"""Rows are counted in so many chunks at most, spread evenly over the time of the training rows."""


def build_reference(
    rows: TrainingRows, scores_NT: npt.NDArray[np.float32], spec: FeatureSpec, tasks: TaskSet
) -> Reference:
    """Count the labelled rows, the held-out ones included, and the scores of the held-out rows."""
    table = TableCounts(spec)
    labelled = rows.held_out + rows.labelled
    chunks = -(-labelled // CHUNK)
    for chunk in np.unique(np.linspace(0, chunks - 1, min(chunks, MAX_CHUNKS)).astype(int)):
        part = rows.all_rows.slice(chunk * CHUNK, min((chunk + 1) * CHUNK, labelled))
        table.add(part.ids_KC.numpy(), part.weights_K.numpy())
    return Reference.of(table, spec, scores_NT, tasks)


def build_canary(model: bytes, ids_NC: npt.NDArray[np.integer[Any]]) -> CanaryBatch:
    """The canary batch of a student.

    Args:
        model: The exported student.
        ids_NC: Feature ids of held-out rows.
    """
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return CanaryBatch.of(
        ids_NC, lambda some_NC: session.run(["scores", "uncertainties"], {"ids": some_NC})
    )
