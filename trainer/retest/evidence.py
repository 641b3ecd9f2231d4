"""The rows of a retest: requests that came after those that either model learned from.

N rows, C columns of ids, T tasks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.data.examples import ExampleError, Examples, stream_examples
from models.features import FeatureSpec
from models.tasks import TaskSet
from trainer.evaluation.metrics import Selection
from trainer.gates.check import HeldOut
from trainer.store.windows import AttributionWindows


@dataclass(frozen=True, slots=True)
class NewerRows:
    """Which rows of a snapshot are evidence.

    Attributes:
        spec: Feature spec of both models.
        tasks: The tasks.
        windows: Their windows: a label counts once its window has closed, also a positive one.
        watermark_ms: Event time up to which outcomes are known.
        after_ms: Time of the newest request that either model learned from.
        propensity_clip: Largest weight of a decision.
    """

    spec: FeatureSpec
    tasks: TaskSet
    windows: AttributionWindows
    watermark_ms: int
    after_ms: int
    propensity_clip: float

    def read(self, snapshot: Path, seen_R: npt.NDArray[np.bool_], folder: Path) -> HeldOut:
        """Read them; feature ids are mapped from a file, so that memory need not hold them.

        Args:
            snapshot: Folder of the snapshot.
            seen_R: Whether a training row of the candidate had each row of the embedding table.
            folder: Folder of the file.

        Raises:
            ExampleError: If there is no such row.
        """
        chunks: list[Examples] = []
        path = folder / "ids"
        with path.open("wb") as file:
            for chunk in self._chunks(snapshot):
                file.write(np.ascontiguousarray(chunk.features_NC, np.int32).tobytes())
                chunks.append(replace(chunk, features_NC=chunk.features_NC[:, :0]))
        rows = sum(map(len, chunks))
        if not rows:
            raise ExampleError(
                f"{snapshot}: no request after {self.after_ms} ms has a final label; nothing can "
                "be tried again"
            )
        propensities_N = np.concatenate([chunk.propensity_N for chunk in chunks])
        counts_N = np.concatenate([chunk.weights for chunk in chunks])
        weights_N = Selection.of(counts_N, propensities_N, self.propensity_clip).weights_N
        return HeldOut(
            ids_NC=np.memmap(path, np.int32, "r", shape=(rows, self.spec.columns)),
            labels_NT=np.concatenate([chunk.labels_NT for chunk in chunks]),
            seen_R=seen_R,
            weights_N=weights_N if len(np.unique(weights_N)) > 1 else None,
            elapsed_N=np.concatenate([chunk.elapsed for chunk in chunks]),
        )

    def _chunks(self, snapshot: Path) -> Iterator[Examples]:
        """The rows, with labels that are final; others are NaN."""
        for chunk in stream_examples(snapshot, self.spec, self.tasks):
            final_NT = np.stack(
                [
                    chunk.ts_N < self.windows.final_before(task, self.watermark_ms)
                    for task in range(len(self.tasks))
                ],
                axis=1,
            )
            rows_K = np.flatnonzero((chunk.ts_N > self.after_ms) & final_NT.any(axis=1))
            if len(rows_K):
                part = chunk.take(rows_K)
                labels_KT = np.where(final_NT[rows_K], part.labels_NT, np.float32(np.nan))
                yield replace(part, labels_NT=labels_KT)
