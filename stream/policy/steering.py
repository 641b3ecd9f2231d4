"""Steering: which settings are in force for each scenario, and whether a change may be.

What holds for a scenario is laid over what holds for all, and what was said live over the
settings file: settings < control ``*`` < settings of the scenario < control of the scenario.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from models.settings import EVERYTHING, PolicySettings, ScenarioSettings
from models.tasks import TaskSet
from stream.policy.errors import PolicyError
from stream.policy.valuation import Valuation, valuation_key

Change = Mapping[str, Any]


def overlay(below: Change, above: Change) -> dict[str, Any]:
    """``above`` laid over ``below``: tables are merged key by key, all else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        merged[key] = overlay(under, value) if both else value  # type: ignore[arg-type]
    return merged


class Steering:
    """The settings in force, by scenario.

    Args:
        settings: From file, environment and flags.
        tasks: The tasks of the student.

    Raises:
        PolicyError: If those of a scenario cannot be used.
    """

    def __init__(self, settings: PolicySettings, tasks: TaskSet) -> None:
        self._base = settings.model_dump(include=set(ScenarioSettings.model_fields))
        self._path = settings.scenario_path
        self._file = settings.scenarios
        self._tasks = tasks
        self._live: dict[str, Change] = {}
        self._valuations: dict[str, Valuation] = {}
        if self._file and not self._path:
            raise PolicyError("policy.scenarios: also set policy.scenario_path, where requests say")
        self._in_force = self._resolve(self._live)

    @property
    def in_force(self) -> Mapping[str, ScenarioSettings]:
        """Settings of ``*`` and of every named scenario."""
        return self._in_force

    def live(self, scenario: str) -> Change:
        """What was said live of one scenario."""
        return self._live.get(scenario, {})

    def change(self, scenario: str, change: Change | None) -> None:
        """Put a change in force in place of the scenario's last one; None takes that one back.

        Raises:
            PolicyError: If any scenario could not be decided under it; nothing has changed then.
        """
        if scenario != EVERYTHING and not self._path:
            raise PolicyError(
                f"scenario {scenario!r}: policy.scenario_path is not set, so requests have none"
            )
        live = dict(self._live)
        if change is None:
            live.pop(scenario, None)
        else:
            live[scenario] = change
        if scenario == EVERYTHING:
            self._in_force = self._resolve(live)
        elif change is None and scenario not in self._file:
            self._in_force.pop(scenario, None)
        else:
            self._in_force[scenario] = self._settings_of(scenario, live)
        self._live = live

    def valuation(self, settings: ScenarioSettings) -> Valuation:
        """What requests are worth under some settings; one object for equal ones."""
        key = valuation_key(settings)
        if key not in self._valuations:
            self._valuations[key] = Valuation(settings, self._tasks)
        return self._valuations[key]

    def _resolve(self, live: Mapping[str, Change]) -> dict[str, ScenarioSettings]:
        names = sorted({EVERYTHING, *self._file, *live})
        return {name: self._settings_of(name, live) for name in names}

    def _settings_of(self, name: str, live: Mapping[str, Change]) -> ScenarioSettings:
        tree = overlay(self._base, live.get(EVERYTHING, {}))
        if name != EVERYTHING:
            tree = overlay(tree, overlay(self._file.get(name, {}), live.get(name, {})))
        return self._checked(name, tree)

    def _checked(self, name: str, tree: Change) -> ScenarioSettings:
        where = "policy" if name == EVERYTHING else f"policy of scenario {name!r}"
        try:
            settings = ScenarioSettings.model_validate(tree)
        except ValidationError as error:
            faults = [
                f"{'.'.join(str(part) for part in fault['loc']) or 'policy'}: {fault['msg']} "
                f"(found {fault['input']!r})"
                for fault in error.errors()
            ]
            raise PolicyError(f"{where}: {'; '.join(faults)}") from error
        try:
            self.valuation(settings)
        except PolicyError as error:
            raise PolicyError(f"{where}: {error}") from error
        return settings
