"""Settings: one tree of TOML file, environment and flags, validated before anything starts.

One module per section; :mod:`models.settings.tree` puts them together.
"""

from models.settings.feedback import FeedbackSettings
from models.settings.gates import GateLimits
from models.settings.kafka import KafkaSettings
from models.settings.model import ModelSettings
from models.settings.policy import (
    EVERYTHING,
    ConsumptionSettings,
    PolicySettings,
    ScenarioSettings,
    WindowSettings,
)
from models.settings.section import NAME_PATTERN, Section
from models.settings.status import StatusSettings
from models.settings.topics import TopicSettings
from models.settings.trainer import TrainerSettings
from models.settings.tree import Settings, SettingsError, load_settings
from models.settings.worker import LogSettings, WorkerSettings

__all__ = [
    "EVERYTHING",
    "NAME_PATTERN",
    "ConsumptionSettings",
    "FeedbackSettings",
    "GateLimits",
    "KafkaSettings",
    "LogSettings",
    "ModelSettings",
    "PolicySettings",
    "ScenarioSettings",
    "Section",
    "Settings",
    "SettingsError",
    "StatusSettings",
    "TopicSettings",
    "TrainerSettings",
    "WindowSettings",
    "WorkerSettings",
    "load_settings",
]
