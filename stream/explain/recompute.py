"""The decision computed again: by the model that the log names, under settings that may have held.

Which settings were in force is not in the header, so it is inferred: the settings of this command
with the first k changes of the topic ``control``, for every k. Those k under which the reward comes
out with the nine digits of the log may have held; the topic is compacted, so there may be none.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from models.artifact import ArtifactError
from models.artifact.registry import Registry, RegistryError
from models.features.bid_request import decode
from models.features.feature import Feature, Ids
from models.settings import EVERYTHING, ScenarioSettings, Settings
from models.settings.policy import PolicySettings
from stream.explain.search import ExplainError, Found
from stream.intercept.loaded_model import LoadedModel, load_model
from stream.messages.control import Change
from stream.policy import Policy, PolicyError
from stream.policy.exploration import draw
from stream.policy.scenario_index import ScenarioIndex
from stream.policy.value.confidence import Confidence, resolve_auto

Floats32 = npt.NDArray[np.float32]
_ALL: Final = EVERYTHING


@dataclass(frozen=True, slots=True)
class ControlChange:
    """A record of the topic ``control``: a live change, or None for a reset.

    Attributes:
        offset: Its offset, which is the revision.
        ts: Time of the record, ms.
        scenario: The scenario.
        change: The settings.
    """

    offset: int
    ts: int
    scenario: str
    change: Change | None


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """The model that the explanation is computed with.

    Attributes:
        model: The model.
        features: The features of its spec, without that of the scenario.
        named: Whether it is the version that the log names.
        missing: Why it is not; "" if it is.
    """

    model: LoadedModel
    features: Sequence[Feature]
    named: bool
    missing: str


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model and the policy make of the request.

    Attributes:
        scores_T: s, each on its task's population, float32.
        uncertainties_T: u, float32.
        t_T: t = h(s, u), float32.
        e: Reward, float32; NaN where the scores give none.
        scenario: The scenario whose settings apply, or ``*``.
        settings: Its settings, every ``auto`` resolved.
        draw: The draw of exploration, in [0, 1).
        revisions: Numbers of control changes under which e is that of the log.
        changes: Number of control changes that e, t and settings are given under.
    """

    scores_T: Floats32
    uncertainties_T: Floats32
    t_T: Floats32
    e: np.float32
    scenario: str
    settings: ScenarioSettings
    draw: float
    revisions: tuple[int, ...]
    changes: int


def model_of(settings: Settings, version: str | None) -> ModelUsed:
    """The version that the log names: the configured artifact, or one of the registry.

    Args:
        settings: ``model.artifact`` and the registry.
        version: The version; None or "" if the log names none.

    Raises:
        ArtifactError: If neither it nor the configured artifact can be loaded.
    """
    configured, fault = None, ""
    try:
        configured = load_model(settings.model.artifact, settings.task_set, settings)
    except ArtifactError as error:
        if not version:
            raise
        fault = str(error)
    if configured is not None and version in {None, "", configured.version}:
        return _used(configured, named=bool(version), missing="")
    try:
        url = Registry.of(settings.model).url_of(version or "")
        return _used(load_model(url, settings.task_set, settings), named=True, missing="")
    except (ArtifactError, RegistryError) as error:
        if configured is None:
            raise ExplainError(
                f"the model {version!r} that decided is not to be had ({error}), nor is "
                f"model.artifact ({fault})"
            ) from error
        why = f"the model {version!r} that decided is not to be had: {error}"
        return _used(configured, named=False, missing=why)


def _used(model: LoadedModel, *, named: bool, missing: str) -> ModelUsed:
    return ModelUsed(model, model.scorer.artifact.spec.features, named, missing)


def score_request(
    settings: Settings,
    model: LoadedModel,
    found: Found,
    row_C: Ids,
    control: Sequence[ControlChange],
) -> Scored:
    """Score the request, and find the settings under which its logged reward comes out.

    Args:
        settings: Policy and tasks.
        model: Scores it.
        found: Its record.
        row_C: What the model's extractor read, the scenario last if there is one.
        control: All changes that are known, oldest first.

    Raises:
        PolicyError: If the settings of this command are invalid.
    """
    ids_1C = np.ascontiguousarray(row_C[None])
    scenarios_1 = None
    if model.reads_scenario:
        scenarios_1, ids_1C = ids_1C[:, -1], np.ascontiguousarray(ids_1C[:, :-1])
    scores_1T, uncertainties_1T = model.scorer.score(ids_1C)
    tasks = settings.task_set
    policy = Policy(settings.policy, tasks)
    policy.use_evidence(model.auto)
    rewards, states = [], []
    for change in [None, *control]:
        if change is not None:
            with suppress(PolicyError):  # a worker refuses it, too, and its settings stay
                policy.apply_change(change.scenario, change.change)
        rewards.append(policy.rewards(scores_1T, uncertainties_1T, scenarios_1)[0])
        states.append(dict(policy.in_force))
    logged = None if found.decision is None else found.decision.e
    fits = tuple(k for k, e in enumerate(rewards) if same_float32(e, logged))
    chosen = _in_force(fits, control, found.record.timestamp)
    name = _scenario_of(states[chosen], scenarios_1)
    in_force = resolve_auto(states[chosen][name], model.auto, tasks)
    return Scored(
        scores_1T[0],
        uncertainties_1T[0],
        Confidence(in_force, tasks)(scores_1T, uncertainties_1T)[0],
        rewards[chosen],
        name,
        in_force,
        draw_of(found, settings.policy),
        fits,
        chosen,
    )


def _in_force(fits: Sequence[int], control: Sequence[ControlChange], time_ms: int) -> int:
    """Changes that were probably in force: the latest before the request that fits the log."""
    before = sum(change.ts <= time_ms for change in control)
    earlier = [k for k in fits if k <= before]
    return max(earlier, default=min(fits, default=before))


def _scenario_of(
    states: dict[str, ScenarioSettings], scenarios_1: npt.NDArray[np.int32] | None
) -> str:
    names = [name for name in states if name != _ALL]
    if scenarios_1 is None:
        return _ALL
    number = int(ScenarioIndex(names).numbers(scenarios_1)[0])
    return names[number - 1] if number else _ALL


def draw_of(found: Found, policy: PolicySettings) -> float:
    """The draw of exploration, which the request's id and the seed determine."""
    request_id = decode(found.record.value, len(found.record.value or b""))["id"]
    hashes_1 = np.array([xxhash.xxh3_64_intdigest(request_id.encode())], np.uint64)
    return float(draw(hashes_1, policy.seed)[0])


def same_float32(one: Any, logged: float | None) -> bool:
    """Whether a computed float32 is the logged one, whose nine digits determine it."""
    if logged is None:
        return bool(np.isnan(one))
    return bool(np.float32(one) == np.float32(logged))
