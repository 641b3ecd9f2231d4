"""The tree of all settings: one for every process, from flags, environment and ``weir.toml``.

Flags override ``WEIR_...`` variables (``WEIR_POLICY__RATE=0.8``), which override ``weir.toml``,
which overrides the defaults of the sections. Everything is validated at the start of a process; an
error names the key, what is wrong with its value, and what would be right.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as PydanticSettingsError

from models.errors import UserError
from models.nested import put
from models.settings.faults import explain
from models.settings.feedback import FeedbackSettings
from models.settings.kafka import KafkaSettings
from models.settings.model import ModelSettings
from models.settings.policy import DEFAULT_WEIGHTS, PolicySettings
from models.settings.section import REVEAL
from models.settings.status import StatusSettings
from models.settings.topics import TopicSettings
from models.settings.trainer import TrainerSettings
from models.settings.worker import LogSettings, WorkerSettings
from models.suggestions import did_you_mean
from models.tasks import DEFAULT_TASKS, Task, TaskSet

_FILE: ContextVar[Path | None] = ContextVar("weir_settings_file")
"""The file of the load in progress; unset, Settings() takes its arguments and defaults only."""


class SettingsError(UserError, ValueError):
    """Settings that cannot be used; one line per fault, each naming its key and the fix."""


class Settings(BaseSettings):
    """All settings; :func:`load_settings` reads them from file, environment and flags.

    ``training`` holds what differs from the defaults of ``trainer.training.config.TrainConfig``.
    The trainer validates it, so that a worker need not know the nets.
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
    status: StatusSettings = StatusSettings()
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
        """Flags, then environment, then the file; outside of a load, the arguments only."""
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
    def _check_tasks_exist(self) -> Self:
        names = self.task_set.names
        given = {} if self.policy.weights == DEFAULT_WEIGHTS else self.policy.weights
        for task in given:
            if task not in names:
                raise ValueError(
                    f"policy.weights: {task!r} is not a task; the tasks are {', '.join(names)}"
                )
        for task in self.trainer.rebuild_labels:
            if task not in names:
                raise ValueError(
                    f"trainer.rebuild_labels: {task!r} is not a task; the tasks are "
                    f"{', '.join(names)}"
                )
        return self

    @model_validator(mode="after")
    def _check_retention_covers_windows(self) -> Self:
        window_s = max(task.window_s for task in self.tasks) / self.feedback.time_scale
        needed = (window_s + self.feedback.lateness_s) / 86_400
        if self.trainer.retention_days <= needed:
            raise ValueError(
                f"trainer.retention_days: {self.trainer.retention_days:g} is not longer than the "
                f"longest attribution window with feedback.lateness_s, {needed:g} days"
            )
        return self

    def override(self, values: Mapping[str, Any]) -> "Settings":
        """These settings with some keys replaced, validated again.

        Args:
            values: Values by dotted key, e.g. ``{"policy.rate": 0.8}``; None keeps a key as it is.

        Raises:
            SettingsError: If a key is unknown or a value does not fit.
        """
        tree = self.model_dump()
        _put_given(tree, values)
        try:
            return Settings(**tree)
        except ValidationError as error:
            raise SettingsError(explain(error, Settings)) from error

    def environment(self) -> dict[str, str]:
        """Environment variables from which :func:`load_settings` reads the same settings.

        They contain secrets: for a child process, never for a log.
        """
        tree = self.model_dump(mode="json", context=REVEAL)
        return {f"WEIR_{name.upper()}": json.dumps(value) for name, value in tree.items()}

    @property
    def secrets(self) -> list[str]:
        """The secrets that are set; no log may show them."""
        return self.kafka.secrets


def load_settings(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings from flags, environment and file, in this order of precedence.

    Args:
        config: The TOML file; by default ``weir.toml`` in the working directory, if it exists.
        flags: Values by dotted key, e.g. ``{"policy.rate": 0.8}``; None counts as not given.

    Raises:
        SettingsError: One line per fault.
    """
    if config is not None and not config.is_file():
        raise SettingsError(f"{config}: no such settings file; give --config an existing file")
    _check_environment()
    tree: dict[str, Any] = {}
    _put_given(tree, flags or {})
    token = _FILE.set(config or Path("weir.toml"))
    try:
        return Settings(**tree)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{config or 'weir.toml'}: not TOML: {error}") from error
    except (ValidationError, PydanticSettingsError) as error:
        raise SettingsError(explain(error, Settings)) from error
    finally:
        _FILE.reset(token)


def _put_given(tree: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if value is not None:
            try:
                put(tree, key, value)
            except ValueError as error:
                raise SettingsError(f"{key}: {error}; leave one of them out") from error


def _check_environment() -> None:
    """Reject a misspelt ``WEIR_SECTION__KEY``, which would otherwise have no effect."""
    sections = list(Settings.model_fields)
    for variable in os.environ:
        if variable.startswith("WEIR_") and "__" in variable:
            section = variable.removeprefix("WEIR_").split("__")[0].lower()
            if section not in sections:
                raise SettingsError(
                    f"environment variable {variable}: there is no section {section!r}; "
                    f"{did_you_mean(section, sections)}"
                )
