"""The student on onnxruntime: feature ids in, scores and uncertainties out.

One pass per batch on the CPU. The default batch size was measured: larger batches do not fit into
the core's cache, smaller ones pay the fixed cost of a call too often.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from models.artifact import Artifact, ArtifactError, ArtifactFault
from models.artifact.canary import CanaryError
from models.artifact.onnxfile import INPUT, OUTPUTS
from models.errors import UserError

DEFAULT_BATCH: Final = 512
_FATAL: Final = 4
MAX_UNCERTAINTY: Final = 1_000.0
"""The standard deviation of a probability is at most 0.5; over this limit sums could overflow."""


class ScoringError(UserError, RuntimeError):
    """A batch that could not be scored, or whose result is unusable."""


class Scorer:
    """Scores requests with one artifact's student.

    Args:
        artifact: A verified artifact.
        threads: Threads per operator; operators run sequentially.
        batch: Maximum number of requests per pass.

    Raises:
        ArtifactError: With code ``bad-model`` if the runtime rejects the model, or its inputs and
            outputs do not match the artifact's spec and tasks.
    """

    def __init__(self, artifact: Artifact, threads: int = 1, batch: int = DEFAULT_BATCH) -> None:
        self.artifact = artifact
        self.batch = batch
        self._where = f"{artifact.url} ({artifact.manifest.version})"
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _FATAL  # failures are raised; a model must not flood the log
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                artifact.onnx, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise ArtifactError(
                ArtifactFault.BAD_MODEL, f"{self._where}: onnxruntime refuses the model: {error}"
            ) from error
        self._check_signature()

    def score(
        self, ids_NC: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Score requests.

        Args:
            ids_NC: Feature ids, extracted by the artifact's spec.

        Returns:
            ``scores_NT``, probabilities on each task's own population, and
            ``uncertainties_NT``, standard deviations of these probabilities.

        Raises:
            ScoringError: If shape or type of the ids are wrong, the runtime fails, or a result has
                the wrong shape or type, or is not a probability or standard deviation.
        """
        columns = self.artifact.spec.columns
        if ids_NC.dtype != np.int32 or ids_NC.ndim != 2 or ids_NC.shape[1] != columns:
            raise ScoringError(
                f"{self._where}: ids must be int32 of shape (N, {columns}), not "
                f"{ids_NC.dtype} of shape {ids_NC.shape}"
            )
        shape = (len(ids_NC), len(self.artifact.tasks))
        scores_NT = np.empty(shape, np.float32)
        uncertainties_NT = np.empty(shape, np.float32)
        for start in range(0, len(ids_NC), self.batch):
            rows = slice(start, start + self.batch)
            scores_NT[rows], uncertainties_NT[rows] = self._pass(ids_NC[rows])
        if len(ids_NC) and not (
            # false for NaN, too
            scores_NT.min() >= 0
            and scores_NT.max() <= 1
            and uncertainties_NT.min() >= 0
            and uncertainties_NT.max() <= MAX_UNCERTAINTY
        ):
            raise ScoringError(
                f"{self._where}: the student gave a score that is not in [0, 1] or an uncertainty "
                f"that is not in [0, {MAX_UNCERTAINTY:g}]"
            )
        return scores_NT, uncertainties_NT

    def answer_canary(self) -> None:
        """Score the canary batch of the artifact, if it carries one, and compare the answers.

        Raises:
            ArtifactError: With code ``canary-mismatch`` if an answer is not the recorded one.
            ScoringError: If scoring fails.
        """
        canary = self.artifact.canary
        if canary is None:
            return
        try:
            canary.check(*self.score(canary.ids_NC))
        except CanaryError as error:
            raise ArtifactError(ArtifactFault.CANARY_MISMATCH, f"{self._where}: {error}") from error

    def warm_up(self) -> None:
        """Answer the canary batch; run a full and a short batch, so that no real chunk is slower.

        Raises:
            ArtifactError: With code ``canary-mismatch``; see :meth:`answer_canary`.
            ScoringError: If scoring fails.
        """
        self.answer_canary()
        missing_C = [
            feature.offset for feature in self.artifact.spec.features for _ in range(feature.slots)
        ]
        for rows in (self.batch, 1):
            self.score(np.tile(np.array(missing_C, np.int32), (rows, 1)))

    def _pass(self, ids_KC: npt.NDArray[np.int32]) -> Any:
        try:
            results = self._session.run(list(OUTPUTS), {INPUT: ids_KC})
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise ScoringError(f"{self._where}: onnxruntime failed: {error}") from error
        shape = (len(ids_KC), len(self.artifact.tasks))
        for name, values in zip(OUTPUTS, results, strict=True):
            # an array of another shape might be broadcast
            if values.shape != shape or values.dtype != np.float32:
                raise ScoringError(
                    f"{self._where}: {name} must be float32 of shape {shape}, not "
                    f"{values.dtype} of shape {values.shape}"
                )
        return results

    def _check_signature(self) -> None:
        columns, tasks = self.artifact.spec.columns, len(self.artifact.tasks)
        inputs = [(i.name, i.type, i.shape[1:]) for i in self._session.get_inputs()]
        outputs = [(o.name, o.type, o.shape[1:]) for o in self._session.get_outputs()]
        wanted_inputs = [(INPUT, "tensor(int32)", [columns])]
        wanted_outputs = [(name, "tensor(float)", [tasks]) for name in OUTPUTS]
        if inputs != wanted_inputs or outputs != wanted_outputs:
            raise ArtifactError(
                ArtifactFault.BAD_MODEL,
                f"{self._where}: inputs {inputs} and outputs {outputs} found, inputs "
                f"{wanted_inputs} and outputs {wanted_outputs} needed",
            )
