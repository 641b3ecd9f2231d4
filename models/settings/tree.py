"""Settings: one tree for every process, from flags, environment and ``weir.toml``.

Flags beat ``WEIR_...`` variables (``WEIR_POLICY__RATE=0.8``), which beat ``weir.toml``, which
beats the defaults below. Everything is validated at start; an error names the key, what is wrong
with it and what would be right.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as PydanticSettingsError,
)

from models import bounds
from models.errors import UserError
from models.settings.faults import explain, suggest
from models.tasks import DEFAULT_TASKS, Task, TaskSet

EVERYTHING: Final = "*"
"""Stands for all requests where a scenario is named, and for those of no named scenario."""

Share = Annotated[float, Field(ge=0, le=1)]
TaskName = Annotated[str, Field(max_length=bounds.MAX_TASK_NAME)]
ScenarioName = Annotated[str, Field(min_length=1, max_length=bounds.MAX_SCENARIO_NAME)]
Weight = Annotated[float, Field(ge=-bounds.MAX_WEIGHT, le=bounds.MAX_WEIGHT)]

#: What Kafka takes as the name of a topic; Weir's groups keep to it too, for Faust and the
#: transactional ids make names of topics and clients out of them.
NAME_PATTERN: Final = r"^[a-zA-Z0-9._-]+$"
TopicName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=249)]
GroupName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=180)]

_REVEAL: Final = "reveal secrets"


def _in_json(secret: SecretStr, info: SerializationInfo) -> str:
    return secret.get_secret_value() if info.context == _REVEAL else str(secret)


#: A text that no log, message or dump shows; only :meth:`Settings.environment` reveals it.
Secret = Annotated[SecretStr, PlainSerializer(_in_json, return_type=str, when_used="json")]


class SettingsError(UserError, ValueError):
    """Settings that cannot be used; one line per fault, each naming its key and the fix."""


class Section(BaseModel):
    """A table of ``weir.toml``: unknown keys are errors, and ``true`` is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, bool):
            return value
        wanted = cls.model_fields[info.field_name or ""].annotation
        if wanted in {int, float, int | None, float | None}:
            raise PydanticCustomError("number_type", "Input should be a number, not a boolean")
        return value


class KafkaSettings(Section):
    """How to reach the brokers, as whom, and what is taken from them.

    Attributes:
        bootstrap: ``HOST:PORT``, several separated by commas.
        group: The consumer group of the workers; its offsets say what is done.
        security_protocol: Whether the connection is encrypted (SSL), and whether clients log in
            (SASL).
        sasl_mechanism: How they log in.
        sasl_username: Name for PLAIN and SCRAM.
        sasl_password: Password for PLAIN and SCRAM.
        oauth_token_command: For OAUTHBEARER: a program and its arguments, as a shell would split
            them; it prints a token.
        oauth_token_provider: In place of a command: ``module:function`` of what returns a token,
            or awaits one.
        ssl_cafile: PEM file of the authorities to trust; the system's where it is empty.
        ssl_certfile: PEM file of the client's certificate (mTLS), with those above it.
        ssl_keyfile: PEM file of its private key; empty where ``ssl_certfile`` holds it.
        ssl_key_password: Password of the private key.
        session_timeout_s: After how long without a heartbeat a worker counts as dead.
        partitions: Of the request topic, where `weir topics` makes it.
        replication: Of the topics that `weir topics` makes.
        max_unpacked_bytes: Most bytes that a batch of records may unpack to; a larger one is left
            out, and one of requests goes to the dead-letter topic.
    """

    bootstrap: str = "127.0.0.1:9092"
    group: GroupName = "weir"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = (
        "SCRAM-SHA-512"
    )
    sasl_username: str = ""
    sasl_password: Secret = SecretStr("")
    oauth_token_command: str = ""
    oauth_token_provider: str = ""
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_key_password: Secret = SecretStr("")
    session_timeout_s: float = Field(default=30.0, ge=1)
    partitions: int = Field(default=4, ge=1)
    replication: int = Field(default=1, ge=1)
    max_unpacked_bytes: int = Field(
        default=bounds.MAX_UNPACKED_BYTES, ge=1_048_576, le=1_073_741_824
    )

    @field_validator("bootstrap")
    @classmethod
    def _reachable(cls, text: str) -> str:
        for server in text.split(","):
            _check_address(server.strip())
        return text

    def revealed(self) -> dict[str, Any]:
        """What is set, secrets too, as plain values: for a file of settings, never for a log."""
        return self.model_dump(mode="json", exclude_unset=True, context=_REVEAL)

    @property
    def servers(self) -> list[str]:
        """The bootstrap servers, ``HOST:PORT`` each."""
        return [server.strip() for server in self.bootstrap.split(",")]


def _check_address(server: str) -> None:
    host, colon, port = server.rpartition(":")
    wanted = "write HOST:PORT[,HOST:PORT...], such as kafka-1:9092"
    if not colon or not host or "/" in host or any(map(str.isspace, host)):
        raise ValueError(f"kafka.bootstrap: {server!r} is not HOST:PORT; {wanted}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(
            f"kafka.bootstrap: {server!r}: put an IPv6 address into brackets; {wanted}"
        )
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65_535):
        raise ValueError(
            f"kafka.bootstrap: {server!r}: {port!r} is not a port (1 to 65535); {wanted}"
        )


class TopicSettings(Section):
    """Names of the topics (see "The contracts" in ARCHITECTURE.md)."""

    requests: TopicName = "bid-requests"
    passed: TopicName = "bid-requests-passed"
    blocked: TopicName = "bid-requests-blocked"
    rejected: TopicName = "bid-requests-rejected"
    outcomes: TopicName = "outcomes"
    joins: TopicName = "feedback-joins"
    examples: TopicName = "training-examples"
    models: TopicName = "models"
    control: TopicName = "control"
    consumption: TopicName = "consumption"
    rate_state: TopicName = "rate-state"


class WorkerSettings(Section):
    """The intercept worker.

    Attributes:
        guarantee: ``at-least-once``: a crash may repeat outputs, but loses none. ``exactly-once``:
            every request has one output, for readers of ``read_committed``; needs Apache Kafka.
        offsets_missing: Where to begin when the group's offsets are gone though requests were
            filtered before: ``earliest`` (what is still there comes out again), ``latest`` (what
            waits is left out), or ``refuse``. A first start begins at the first request always.
        max_chunk_records: Most requests of one fetch.
        max_chunk_bytes: Most bytes fetched per partition at a time, and most that are handed over
            at a time of all partitions, unpacked.
        max_buffer_bytes: No more is fetched while this much is in flight.
        max_value_bytes: Longer requests go to the dead-letter topic.
        compression: Codec of the batches that Weir writes: outputs, and what feedback writes. The
            table in ARCHITECTURE.md says what each costs.
        score_batch: Requests per inference.
        score_threads: Threads of one inference.
        metrics_host: Address of the listener for metrics and probes.
        metrics_port: Its port, 0 for a free one.
        expected: Workers of the group that should be ready at least, for the alert on fewer.
    """

    guarantee: Literal["at-least-once", "exactly-once"] = "at-least-once"
    offsets_missing: Literal["earliest", "latest", "refuse"] = "earliest"
    max_chunk_records: int = Field(default=2000, ge=1)
    max_chunk_bytes: int = Field(default=8_388_608, ge=1024)
    max_buffer_bytes: int = Field(default=268_435_456, ge=1_048_576)
    max_value_bytes: int = Field(default=900_000, ge=1024)
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    score_batch: int = Field(default=512, ge=1)
    score_threads: int = Field(default=1, ge=1)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    expected: int = Field(default=1, ge=0)


class LogSettings(Section):
    """What is logged, by every process.

    Attributes:
        format: ``text`` for people; ``json``: one object per line, for machines.
    """

    format: Literal["text", "json"] = "text"


class WindowSettings(Section):
    """The sliding window that thresholds are read off.

    Long ones rank the rare best (a high rate) more finely; while scores drift, only the newest
    part counts. Neither moves the rate, which is held by what is owed.

    Attributes:
        requests: N, the last requests held; memory is 56 N bytes at most.
        seconds: T, the greatest age in it; None for no limit.
    """

    requests: int = Field(default=1_000, ge=100, le=bounds.MAX_WINDOW_REQUESTS)
    seconds: float | None = Field(default=None, gt=0, le=bounds.MAX_WINDOW_S)


DEFAULT_WEIGHTS = {"click": 1.0, "online": 1.0, "cart": 5.0, "deal": 20.0}
"""Those of the default tasks; other tasks need their own before anything is intercepted."""


class ConsumptionSettings(Section):
    """How the consumption of a budget moves the rate (see ``stream/policy/rate/pacing.py``).

    Attributes:
        least: The lowest rate that it may ask for.
        most: The highest.
        gain: How much of the needed change of pace one report brings about.
    """

    least: Share = 0.0
    most: Share = 1.0
    gain: float = Field(default=0.5, ge=0.001, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"consumption.least: {self.least:g} is above most ({self.most:g})")
        return self


class ScenarioSettings(Section):
    """What is intercepted of one scenario; all of it can be changed while workers run.

    The bounds (`models/bounds.py`) are the same in the file and on the topic ``control``.

    Attributes:
        rate: Target share r of requests to intercept (eq. 7).
        capacity: The most requests per second that downstream takes; given, it stands for
            ``rate``, and no more is intercepted than it needs.
        consumption: Given, reports on the topic ``consumption`` move the rate, from ``rate`` on.
        reward: f (eq. 8): ``weighted-sum``, ``funnel-value``, or an arithmetic expression of the
            task names, such as ``deal * 20 + cart``.
        weights: Weight (weighted sum) or value (funnel) per task.
        confidence: h (eq. 9).
        kappa: Weight of u in ``optimistic``: t = s + kappa u.
        reference: Score to reach per task in ``probability-of-improvement``.
        direct_share: Share of *all* requests that ``pass-uncertain`` passes directly, counted
            inside (1 - rate); ``auto`` takes what paid on the serving artifact's held-out rows,
            none where nothing did.
        uncertainty_source: Which task's uncertainty serves which task (``daum``: cart and deal
            take click's), or an own mapping; ``auto`` as for ``direct_share``.
        explore: Share eps of the would-be-blocked requests that pass with reason ``explore``.
        slack: Passes that may be owed or overdrawn at any time; the intercepted share of any n
            requests is within (2 slack + 1) / n of the rate. More slack captures more reward.
    """

    rate: Share = 0.6
    capacity: float | None = Field(default=None, ge=bounds.MIN_CAPACITY, le=bounds.MAX_CAPACITY)
    consumption: ConsumptionSettings | None = None
    reward: str = Field(default="weighted-sum", max_length=bounds.MAX_REWARD_TEXT)
    weights: dict[TaskName, Weight] = Field(default=DEFAULT_WEIGHTS, max_length=bounds.MAX_TASKS)
    confidence: Literal["pass-uncertain", "optimistic", "probability-of-improvement", "score"] = (
        "pass-uncertain"
    )
    kappa: float = Field(default=0.5, ge=0, le=bounds.MAX_KAPPA)
    reference: dict[TaskName, Share] = Field(default={}, max_length=bounds.MAX_TASKS)
    direct_share: Share | Literal["auto"] = "auto"
    uncertainty_source: (
        Literal["auto", "own", "daum"]
        | Annotated[dict[TaskName, TaskName], Field(max_length=bounds.MAX_TASKS)]
    ) = "auto"
    explore: Share = 0.0
    slack: float = Field(default=13.0, ge=1, le=bounds.MAX_SLACK)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.capacity is not None and self.consumption is not None:
            raise ValueError("capacity and consumption: both set the rate; leave one out")
        return self


class PolicySettings(ScenarioSettings):
    """What is intercepted.

    Attributes:
        seed: Seed of every draw by request id.
        window: What thresholds are read off.
        scenario_path: Where a request names its scenario, such as ``site.publisher.id``; empty
            for one policy for all.
        scenarios: What differs from the settings above, by scenario. All requests of scenarios
            that neither this nor the topic ``control`` names are decided together.
    """

    seed: int = 0
    window: WindowSettings = WindowSettings()
    scenario_path: str = ""
    scenarios: dict[ScenarioName, dict[str, Any]] = Field(
        default={}, max_length=bounds.MAX_SCENARIOS
    )


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
        max_memory_bytes: Most memory of the requests and outcomes that a feedback worker holds,
            over all its partitions; the process takes 250 MB besides. Where more requests come
            than fit until their last window closes, a share of them by id is kept.
    """

    time_scale: float = Field(default=1.0, gt=0)
    lateness_s: float = Field(default=60.0, ge=0)
    max_memory_bytes: int = Field(default=536_870_912, ge=4_194_304)


class TrainerSettings(Section):
    """The trainer: its example store and when it rebuilds.

    Attributes:
        store: Folder of the example store.
        rebuild_examples: New examples without a masked label after which it rebuilds.
        rebuild_period_s: After so long it rebuilds with fewer, if there are any.
        poll_s: How long one poll of the examples topic waits.
        quick: Trains with the effort of a trial run, for demonstrations.
        seed: Seed of everything random in training.
        scratch: Folder on a disk for the rows of a rebuild, some 700 bytes each; empty for
            ``scratch`` in the store. Not shared: its folders ``rebuild-*`` are removed.
        max_rebuild_rows: A rebuild learns from so many requests at most, the newest.
        metrics_host: Address of the listener for metrics and probes.
        metrics_port: Its port, 0 for a free one.
    """

    store: str = "var/examples"
    rebuild_examples: int = Field(default=100_000, ge=100)
    rebuild_period_s: float = Field(default=86_400.0, gt=0)
    poll_s: float = Field(default=1.0, gt=0)
    quick: bool = False
    seed: int = 0
    scratch: str = ""
    max_rebuild_rows: int = Field(default=5_000_000, ge=100)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)


#: The file behind the settings being loaded; unset, only what is passed to Settings() counts.
_FILE: ContextVar[Path | None] = ContextVar("weir_settings_file")


class Settings(BaseSettings):
    """All settings; :func:`load_settings` reads them from file, environment and flags.

    ``training`` holds what differs from the defaults of ``trainer.training.config.TrainConfig``,
    which the trainer validates: a worker knows nothing of nets.
    """

    model_config = SettingsConfigDict(
        env_prefix="WEIR_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    kafka: KafkaSettings = KafkaSettings()
    log: LogSettings = LogSettings()
    topics: TopicSettings = TopicSettings()
    worker: WorkerSettings = WorkerSettings()
    policy: PolicySettings = PolicySettings()
    model: ModelSettings = ModelSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    trainer: TrainerSettings = TrainerSettings()
    training: dict[str, Any] = Field(default={})
    tasks: tuple[Task, ...] = tuple(DEFAULT_TASKS)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the file; without a load in progress, arguments only."""
        del dotenv_settings, file_secret_settings
        if _FILE not in copy_context():
            return (init_settings,)
        toml = TomlConfigSettingsSource(settings_cls, toml_file=_FILE.get())
        return (init_settings, env_settings, toml)

    @property
    def task_set(self) -> TaskSet:
        """The tasks in funnel order."""
        return TaskSet(self.tasks)

    @model_validator(mode="after")
    def _tasks_agree(self) -> Self:
        names = self.task_set.names
        given = {} if self.policy.weights == DEFAULT_WEIGHTS else self.policy.weights
        for task in given:
            if task not in names:
                raise ValueError(
                    f"policy.weights: {task!r} is not a task; the tasks are {', '.join(names)}"
                )
        return self

    def override(self, values: Mapping[str, Any]) -> "Settings":
        """These settings with some keys replaced, validated again.

        Args:
            values: Dotted key to value, e.g. ``{"policy.rate": 0.8}``; None leaves a key alone.

        Raises:
            SettingsError: If a key is unknown or a value does not fit.
        """
        tree = self.model_dump()
        for key, value in values.items():
            if value is not None:
                _put(tree, key, value)
        try:
            return Settings(**tree)
        except ValidationError as error:
            raise SettingsError(explain(error, Settings)) from error

    def environment(self) -> dict[str, str]:
        """Variables under which :func:`load_settings` gives just these settings again.

        Secrets are among them: for a child process, never for a log.
        """
        tree = self.model_dump(mode="json", context=_REVEAL)
        return {f"WEIR_{name.upper()}": json.dumps(value) for name, value in tree.items()}

    @property
    def secrets(self) -> list[str]:
        """What no log may show."""
        kafka = self.kafka
        return [s.get_secret_value() for s in (kafka.sasl_password, kafka.ssl_key_password) if s]


def load_settings(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings from flags, environment and file, in that order of strength.

    Args:
        config: The TOML file; without one, ``weir.toml`` in the working directory if it exists.
        flags: Dotted key to value, e.g. ``{"policy.rate": 0.8}``; None counts as not given.

    Raises:
        SettingsError: One line per fault.
    """
    if config is not None and not config.is_file():
        raise SettingsError(f"{config}: no such settings file; give --config an existing file")
    _check_environment()
    tree: dict[str, Any] = {}
    for key, value in (flags or {}).items():
        if value is not None:
            _put(tree, key, value)
    token = _FILE.set(config or Path("weir.toml"))
    try:
        return Settings(**tree)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{config or 'weir.toml'}: not TOML: {error}") from error
    except (ValidationError, PydanticSettingsError) as error:
        raise SettingsError(explain(error, Settings)) from error
    finally:
        _FILE.reset(token)


def _put(tree: dict[str, Any], key: str, value: object) -> None:
    *sections, name = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[name] = value


def _check_environment() -> None:
    """Refuse a misspelt ``WEIR_SECTION__KEY``, which would otherwise be ignored in silence."""
    for variable in os.environ:
        if variable.startswith("WEIR_") and "__" in variable:
            section = variable.removeprefix("WEIR_").split("__")[0].lower()
            if section not in Settings.model_fields:
                raise SettingsError(
                    f"environment variable {variable}: there is no section {section!r}"
                    f"{suggest(section, list(Settings.model_fields))}"
                )
