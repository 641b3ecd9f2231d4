"""Settings: one tree for every process, from flags, environment and ``weir.toml``.

Flags beat ``WEIR_...`` variables (``WEIR_POLICY__RATE=0.8``), which beat ``weir.toml``, which
beats the defaults below. Everything is validated at start; an error names the key, what is wrong
with it and what would be right.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from models.tasks import DEFAULT_TASKS, Task, TaskSet

Share = Annotated[float, Field(ge=0, le=1)]


class SettingsError(ValueError):
    """Settings that cannot be used; one line per fault, each naming its key and the fix."""


class Section(BaseModel):
    """A table of ``weir.toml``: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Section):
    """How to reach the brokers, and the names of the topics."""

    bootstrap: str = "127.0.0.1:9092"
    group: str = "weir"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = Field(default="", repr=False)
    ssl_cafile: str = ""
    session_timeout_s: float = Field(default=30.0, ge=1)
    partitions: int = Field(default=4, ge=1)
    replication: int = Field(default=1, ge=1)


class TopicSettings(Section):
    """Names of the topics (see "The contracts" in ARCHITECTURE.md)."""

    requests: str = "bid-requests"
    passed: str = "bid-requests-passed"
    blocked: str = "bid-requests-blocked"
    rejected: str = "bid-requests-rejected"
    outcomes: str = "outcomes"
    joins: str = "feedback-joins"
    examples: str = "training-examples"
    models: str = "models"


class WorkerSettings(Section):
    """The intercept worker."""

    max_chunk_records: int = Field(default=2000, ge=1)
    max_chunk_bytes: int = Field(default=8_388_608, ge=1024)
    max_value_bytes: int = Field(default=1_048_576, ge=1024)
    score_batch: int = Field(default=512, ge=1)
    score_threads: int = Field(default=1, ge=1)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)


class WindowSettings(Section):
    """The sliding window that thresholds are read off.

    Short ones follow drift, long ones rank the rare best (a high rate) more finely; neither
    moves the rate, which is held by what is owed.

    Attributes:
        requests: N, the last requests held; memory is 24 N bytes at most.
        seconds: T, the greatest age in it; None for no limit.
    """

    requests: int = Field(default=1_500, ge=100)
    seconds: float | None = Field(default=None, gt=0)


class PolicySettings(Section):
    """What is intercepted.

    Attributes:
        rate: Target share r of requests to intercept (eq. 7).
        reward: f (eq. 8): ``weighted-sum``, ``funnel-value``, or an arithmetic expression of the
            task names, such as ``deal * 20 + cart``.
        weights: Weight (weighted sum) or value (funnel) per task.
        confidence: h (eq. 9).
        kappa: Weight of u in ``optimistic``: t = s + kappa u.
        reference: Score to reach per task in ``probability-of-improvement``.
        direct_share: Share of *all* requests that ``pass-uncertain`` passes directly, counted
            inside (1 - rate).
        uncertainty_source: Which task's uncertainty serves which task (``daum``: cart and deal
            take click's), or an own mapping.
        explore: Share eps of the would-be-blocked requests that pass with reason ``explore``.
        seed: Seed of every draw by request id.
        slack: Passes that may be owed or overdrawn at any time; the intercepted share of any n
            requests is within (2 slack + 1) / n of the rate. More slack captures more reward.
    """

    rate: Share = 0.6
    reward: str = "weighted-sum"
    weights: dict[str, float] = Field(
        default={"click": 1.0, "online": 1.0, "cart": 5.0, "deal": 20.0}
    )
    confidence: Literal["pass-uncertain", "optimistic", "probability-of-improvement", "score"] = (
        "pass-uncertain"
    )
    kappa: float = Field(default=0.5, ge=0)
    reference: dict[str, float] = Field(default={})
    direct_share: Share = 0.01
    uncertainty_source: Literal["own", "daum"] | dict[str, str] = "daum"
    explore: Share = 0.0
    seed: int = 0
    slack: float = Field(default=13.0, ge=1)
    window: WindowSettings = WindowSettings()


class ModelSettings(Section):
    """Where artifacts come from."""

    artifact: str = "pretrained:openrtb"
    registry: str = "var/registry"


class FeedbackSettings(Section):
    """The join of passed requests with their outcomes.

    Attributes:
        time_scale: Divides every attribution window; 1 in production, larger in demonstrations
            whose days last seconds.
        lateness_s: How long after a window closed its outcomes may still arrive.
    """

    time_scale: float = Field(default=1.0, gt=0)
    lateness_s: float = Field(default=60.0, ge=0)


class TrainerSettings(Section):
    """The trainer: its example store and when it rebuilds."""

    store: str = "var/examples"
    rebuild_examples: int = Field(default=100_000, ge=100)
    rebuild_period_s: float = Field(default=86_400.0, gt=0)
    poll_s: float = Field(default=1.0, gt=0)


class Settings(BaseSettings):
    """All settings; build with :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="WEIR_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    worker: WorkerSettings = WorkerSettings()
    policy: PolicySettings = PolicySettings()
    model: ModelSettings = ModelSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    trainer: TrainerSettings = TrainerSettings()
    tasks: tuple[Task, ...] = tuple(DEFAULT_TASKS)

    @property
    def task_set(self) -> TaskSet:
        """The tasks in funnel order."""
        return TaskSet(self.tasks)

    @model_validator(mode="after")
    def _tasks_agree(self) -> Self:
        names = self.task_set.names
        for task in self.policy.weights:
            if task not in names:
                raise ValueError(
                    f"policy.weights: {task!r} is not a task; the tasks are {', '.join(names)}"
                )
        return self
