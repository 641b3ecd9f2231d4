"""The settings in force for each scenario, and the validation of live changes.

Four layers, each overriding the one before: the settings for all, ``control`` for ``*``, the
settings of the scenario, ``control`` for the scenario.

The cost of a change is proportional to its scope: a change of one scenario validates that one; a
change of ``*`` copies its settings to each scenario, and validates those again that override more
than a few independent values.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

from pydantic import ValidationError

from models.bounds import MAX_SCENARIO_NAME, MAX_SCENARIOS
from models.nested import overlay
from models.settings import EVERYTHING, PolicySettings, ScenarioSettings
from models.tasks import TaskSet
from models.validation import reason
from stream.policy.errors import PolicyError
from stream.policy.scenario_index import scenario_row
from stream.policy.value.reward import RewardFunction
from stream.policy.value.valuation import Valuation, valuation_key

Change = Mapping[str, Any]
Resolved = tuple[ScenarioSettings, Valuation]

INDEPENDENT: Final = frozenset({"rate", "direct_share", "explore", "slack"})
"""Settings whose validity does not depend on other settings."""
_SHOWN: Final = 80
"""Characters of a wrong value that an error repeats."""


class SettingsInForce:
    """The settings in force, by scenario.

    Args:
        settings: Settings from file, environment and flags.
        tasks: The tasks of the student.
        reward: A reward in place of that of the settings, for all scenarios.

    Raises:
        PolicyError: If those of a scenario are invalid.
    """

    def __init__(
        self, settings: PolicySettings, tasks: TaskSet, reward: RewardFunction | None = None
    ) -> None:
        self._base = settings.model_dump(include=set(ScenarioSettings.model_fields))
        self._path = settings.scenario_path
        self._file = settings.scenarios
        self._tasks = tasks
        self._reward = reward
        self._live: dict[str, Change] = {}
        self._valuations: WeakValueDictionary[str, Valuation] = WeakValueDictionary()
        if self._file and not self._path:
            raise PolicyError(
                "policy.scenarios: also set policy.scenario_path, the field that names a scenario"
            )
        if EVERYTHING in self._file:
            raise PolicyError(
                f"policy.scenarios.{EVERYTHING!r}: settings for all scenarios belong in [policy]"
            )
        self._names: dict[int, str] = {}
        for name in self._file:
            self._names[self._row_of(name)] = name
        self._resolved: dict[str, Resolved] = {}
        self._resolved = self._resolve(self._base)

    @property
    def in_force(self) -> Mapping[str, ScenarioSettings]:
        """Settings of ``*`` and of every named scenario."""
        return {name: settings for name, (settings, _) in self._resolved.items()}

    @property
    def default(self) -> ScenarioSettings:
        """Settings of ``*``."""
        return self._resolved[EVERYTHING][0]

    def of(self, scenario: str) -> ScenarioSettings | None:
        """Settings of ``*`` or of a named scenario; None without such a scenario."""
        found = self._resolved.get(scenario)
        return None if found is None else found[0]

    @property
    def names(self) -> Iterable[str]:
        """``*`` and every named scenario."""
        return self._resolved.keys()

    def live_change(self, scenario: str) -> Change:
        """The live change of one scenario; empty if there is none."""
        return self._live.get(scenario, {})

    def apply(self, scenario: str, change: Change | None) -> None:
        """Put a change in force instead of the scenario's previous one; None resets that.

        Raises:
            PolicyError: If it makes the settings of any scenario invalid; nothing has changed then.
        """
        if scenario == EVERYTHING:
            self._resolved = self._resolve(overlay(self._base, change or {}))
        elif not self._path:
            raise PolicyError(
                f"scenario {scenario!r}: policy.scenario_path is not set, so requests have none"
            )
        elif change is None and scenario not in self._file:
            if self._resolved.pop(scenario, None) is not None:
                del self._names[scenario_row(scenario)]
        else:
            row = self._row_of(scenario)
            default = overlay(self._base, self._live.get(EVERYTHING, {}))
            own = overlay(self._file.get(scenario, {}), change or {})
            self._resolved[scenario] = self._checked(scenario, overlay(default, own))
            self._names[row] = scenario
        if change is None:
            self._live.pop(scenario, None)
        else:
            self._live[scenario] = change

    def valuation(self, settings: ScenarioSettings) -> Valuation:
        """The valuation under some settings; one object for all that value alike."""
        key = valuation_key(settings)
        found = self._valuations.get(key)
        if found is None:
            found = self._valuations[key] = Valuation(settings, self._tasks, self._reward)
        return found

    def _row_of(self, name: str) -> int:
        """The row of a scenario; refuses an invalid name, one too many, or a duplicate row."""
        if not 0 < len(name) <= MAX_SCENARIO_NAME:
            raise PolicyError(
                f"scenario {_shown(name)}: a name has 1 to {MAX_SCENARIO_NAME} characters"
            )
        row = scenario_row(name)
        other = self._names.get(row)
        if other is None and len(self._names) >= MAX_SCENARIOS:
            raise PolicyError(
                f"scenario {name!r}: {MAX_SCENARIOS:,} scenarios have a name already, which is "
                "the most; reset one (weir policy set --reset --scenario NAME)"
            )
        if other not in {None, name}:
            raise PolicyError(f"scenarios {other!r} and {name!r} have the same hash; rename one")
        return row

    def _resolve(self, default: Change) -> dict[str, Resolved]:
        """The settings of all scenarios, given those of ``*``.

        Independent values were validated when they were given, and are copied without a check.
        """
        settings, valuation = first = self._checked(EVERYTHING, default)
        found = {EVERYTHING: first}
        for name in self._names.values():
            own = overlay(self._file.get(name, {}), self._live.get(name, {}))
            known = self._resolved.get(name)
            if known is not None and own.keys() <= INDEPENDENT:
                kept = {key: getattr(known[0], key) for key in own}
                found[name] = settings.model_copy(update=kept), valuation
            else:
                found[name] = self._checked(name, overlay(default, own))
        return found

    def _checked(self, name: str, tree: Change) -> Resolved:
        where = "policy" if name == EVERYTHING else f"policy of scenario {name!r}"
        try:
            settings = ScenarioSettings.model_validate(tree)
        except ValidationError as error:
            faults = [
                f"{'.'.join(str(part) for part in fault['loc']) or 'policy'}: {_reason(fault)} "
                f"(found {_shown(fault['input'])})"
                for fault in error.errors()
            ]
            raise PolicyError(f"{where}: {'; '.join(faults)}") from error
        try:
            return settings, self.valuation(settings)
        except PolicyError as error:
            text = str(error)
            raise PolicyError(text if text.startswith(where) else f"{where}: {text}") from error


def _reason(fault: Mapping[str, Any]) -> str:
    if fault["type"] != "extra_forbidden":
        return reason(fault)
    return f"unknown setting; known are {', '.join(ScenarioSettings.model_fields)}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
