"""The gates of a candidate, their limits and results, and ``gates.json``.

``gates.json`` is a file of the artifact like its card: listed in the manifest with its hash, so
that the announcement's hash covers the verdict under which a version was published.
"""

from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

GATES_FILE: Final = "gates.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Gate(StrEnum):
    """The gates of a candidate."""

    BETTER = "better"
    LOG_LOSS = "log-loss"
    AUC_PR = "auc-pr"
    CALIBRATION = "calibration"
    REWARD = "reward"
    AGREEMENT = "agreement"
    TEACHER_SCORE = "teacher-score"
    TEACHER_UNCERTAINTY = "teacher-uncertainty"
    TIME = "time"
    FEATURES = "features"


class Verdict(StrEnum):
    """What a gate, or all of them together, says.

    Attributes:
        PASS: Shown to be within the limit.
        WAIVED: Not shown for want of data, which earlier candidates wanted, too; not shown to be
            outside the limit either.
        HOLD: Not enough evidence.
        FAIL: Shown to be outside the limit.
    """

    PASS = "pass"  # noqa: S105 - no password
    WAIVED = "waived"
    HOLD = "hold"
    FAIL = "fail"


class GateResult(_Record):
    """Result of one gate.

    Attributes:
        gate: The gate.
        task: The task; None for gates of the whole artifact.
        verdict: What it says.
        reason: The same as a sentence.
        figure: What is compared with the limit.
        low: Its lower bound, None if it has none.
        high: Its upper bound, None if it has none.
        limit: The worst figure that passes.
        candidate: The candidate's own figure.
        serving: The serving model's.
        needed: At HOLD, how many more positives (rows, for gates of the whole artifact) would
            show it if the figures stayed; None if no number would.
        starved: Whether the rows are too few to show it for a candidate that is as good as what
            serves, so that this says nothing against the candidate.
    """

    gate: Gate
    task: str | None = None
    verdict: Verdict
    reason: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    candidate: float | None = None
    serving: float | None = None
    needed: int | None = None
    starved: bool = False

    @property
    def passed(self) -> bool:
        """Whether it lets the candidate pass."""
        return self.verdict in {Verdict.PASS, Verdict.WAIVED}

    @property
    def name(self) -> str:
        """Gate and task, as in logs and in the ledger."""
        return self.gate if self.task is None else f"{self.gate} {self.task}"


class Promise(_Record):
    """What the held-out rows say of one task under the candidate, for the watch after a swap.

    Attributes:
        rows: Rows of the task's population with a known label.
        positives: Positives among them.
        mean_score: Mean of the candidate's scores.
        label_rate: Share of positives.
        passed_mean_score: Mean score of the rows that pass at the serving rate.
        passed_label_rate: Share of positives among these.
        newest_s: Age of the newest of the rows when they were compared, seconds; None if unknown.
        median_s: Their median age.
    """

    rows: int
    positives: int
    mean_score: float
    label_rate: float
    passed_mean_score: float
    passed_label_rate: float
    newest_s: float | None = None
    median_s: float | None = None

    @property
    def age(self) -> str:
        """How old the rows are, in words; empty if that is not known."""
        if self.newest_s is None or self.median_s is None:
            return ""
        return (
            f"of requests {_long(self.newest_s)} old or older, half of them {_long(self.median_s)}"
        )


class GateReport(_Record):
    """Content of ``gates.json``.

    Attributes:
        format: Version of this schema.
        candidate: Version of the candidate.
        serving: Version that it was compared with; None if nothing comparable serves.
        serving_sha256: Hash of the manifest of what serves.
        trial: k: how many candidates were tried against it, with this one.
        alpha: Error over all of them.
        alpha_k: This one's share.
        rows: Held-out rows.
        rate: Intercepted share at which the reward was compared.
        verdict: All gates together: the worst of them; WAIVED counts as PASS.
        gates: All results.
        promised: What to expect of each task after the swap.
        reward_per_pass: Mean outcome value of a passed row under the candidate.
    """

    format: Literal[1] = 1
    candidate: str
    serving: str | None
    serving_sha256: str
    trial: int = Field(ge=1)
    alpha: float
    alpha_k: float
    rows: int
    rate: float
    verdict: Verdict
    gates: tuple[GateResult, ...]
    promised: dict[str, Promise]
    reward_per_pass: float | None

    def to_bytes(self) -> bytes:
        """Content of the file."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @property
    def refusals(self) -> list[str]:
        """What kept the candidate from passing."""
        return [f"{gate.name}: {gate.reason}" for gate in self.gates if not gate.passed]


def _long(seconds: float) -> str:
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def overall(gates: tuple[GateResult, ...]) -> Verdict:
    """FAIL if any failed, else HOLD if any is held, else PASS."""
    verdicts = {gate.verdict for gate in gates}
    for verdict in (Verdict.FAIL, Verdict.HOLD):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS
