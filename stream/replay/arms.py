"""Arms of a replay: policies, each with a model, that decide the same requests side by side."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.artifact import ArtifactFiles
from models.errors import UserError
from models.settings import Settings, load_settings
from stream.messages import REASON_LABELS
from stream.policy import Policy
from stream.policy.value.reward import RewardFunction
from stream.replay.folder import BASE, KEYS
from stream.replay.scoring import score_columns

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERDICTS: Final = pl.Series(["block", "pass"])
_REASONS: Final = pl.Series(REASON_LABELS)


class ArmError(UserError, ValueError):
    """An arm that cannot be compared; names the arm and the fix."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A policy with a model.

    Attributes:
        name: Name of its folder; ``base`` is that of the settings in force.
        settings: Its policy, tasks and artifact.
        policy: Decides instead of the policy of the settings, e.g. with a reward of one's own.
    """

    name: str
    settings: Settings
    policy: Policy | None = None


def read_arm(text: str, flags: Mapping[str, Any] | None = None) -> Arm:
    """An arm as the command line gives it, ``NAME=FILE`` or ``FILE``.

    Args:
        text: Name and settings file; without a name, it is the file's.
        flags: Settings that override the file's.

    Raises:
        ArmError: If the name is no name of a folder.
        SettingsError: If the settings are invalid.
    """
    name, sign, file = text.partition("=")
    if not sign:
        name, file = Path(text).stem, text
    return Arm(name, load_settings(Path(file), dict(flags or {})))


def with_rewards(arms: Sequence[Arm], rewards: Mapping[str, RewardFunction]) -> list[Arm]:
    """The arms, those that are named with a reward of one's own.

    Args:
        arms: All arms.
        rewards: Functions of t_NT by name of the arm; see
            :func:`stream.policy.value.reward.checked_reward`.

    Raises:
        ArmError: If a name is that of no arm.
    """
    names = [arm.name for arm in arms]
    for name in rewards:
        if name not in names:
            raise ArmError(f"rewards: {name!r} is no arm; there are {', '.join(names)}")
    return [
        replace(
            arm,
            policy=Policy(arm.settings.policy, arm.settings.task_set, reward=rewards[arm.name]),
        )
        if arm.name in rewards
        else arm
        for arm in arms
    ]


def check_arms(arms: Sequence[Arm]) -> None:
    """Check that arms can be compared.

    Args:
        arms: The base first.

    Raises:
        ArmError: If names are invalid or not unique, or tasks or paths of scenarios differ.
    """
    base, *others = arms
    names = {base.name}
    for arm in others:
        if not _NAME.fullmatch(arm.name) or arm.name == BASE:
            raise ArmError(
                f"--against: {arm.name!r} cannot be the name of an arm; write NAME=FILE with up to "
                "64 letters, digits, '.', '_' or '-', and another name than 'base'"
            )
        if arm.name in names:
            raise ArmError(f"--against: there are two arms {arm.name!r}; write NAME=FILE")
        names.add(arm.name)
        if arm.settings.tasks != base.settings.tasks:
            raise ArmError(
                f"--against {arm.name}: its [[tasks]] are not those of the settings in force "
                f"({', '.join(base.settings.task_set.names)}); arms are compared by the same tasks"
            )
    paths = {arm.settings.policy.scenario_path for arm in arms} - {""}
    if len(paths) > 1:
        raise ArmError(f"arms must share one policy.scenario_path; there are {sorted(paths)}")


class DecidingArm:
    """Decides scored requests under one arm; holds its policy's state.

    Args:
        arm: The arm.
        model: Number of its model.
        files: Its model.

    Raises:
        PolicyError: If the policy cannot use the model.
    """

    def __init__(self, arm: Arm, model: int, files: ArtifactFiles) -> None:
        tasks = arm.settings.task_set
        self.name = arm.name
        self.version: str = files.manifest.version
        self.tasks = tasks.names
        self.policy = arm.policy or Policy(arm.settings.policy, tasks)
        self.policy.use_evidence(files.manifest.auto)
        self.target_rate = arm.settings.policy.rate
        self._reads_scenario = bool(arm.settings.policy.scenario_path)
        self._columns = score_columns(model, len(tasks))
        self._counts = np.zeros(2 * len(REASON_LABELS), np.int64)

    def decide(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Decide the next requests of the history.

        Args:
            frame: Rows of a :class:`stream.replay.scoring.ScoredPiece` with their ``partition``.

        Returns:
            Columns of :func:`stream.replay.folder.decision_schema`.
        """
        scores, uncertainties = self._columns
        made = self.policy.decide(
            frame["hash"].to_numpy(),
            frame["timestamp"].to_numpy(),
            _matrix(frame, scores),
            _matrix(frame, uncertainties),
            scenarios_N=frame["scenario_row"].to_numpy() if self._reads_scenario else None,
            partitions_N=frame["partition"].to_numpy(),
        )
        passed_N = made.passed_N.astype(np.uint32)
        self._counts += np.bincount(
            passed_N * len(REASON_LABELS) + made.reason_N, minlength=len(self._counts)
        )
        # series, as an expression costs more than what it does for a thousand rows
        columns = [frame[name] for name in KEYS]
        columns += [
            _VERDICTS.gather(passed_N).alias("verdict"),
            _REASONS.gather(made.reason_N.astype(np.uint32)).alias("reason"),
            pl.Series("e", made.reward_N),
            pl.Series("threshold", made.threshold_N),
            pl.Series("propensity", made.propensity_N),
        ]
        for task, score, uncertainty in zip(self.tasks, scores, uncertainties, strict=True):
            columns += [
                frame[score].rename(f"score_{task}"),
                frame[uncertainty].rename(f"uncertainty_{task}"),
            ]
        versions = pl.Series("model", [self.version], pl.String).new_from_index(0, frame.height)
        return pl.DataFrame([*columns, versions])

    def summary(self) -> dict[str, Any]:
        """Counts of verdicts and reasons, and the achieved rate."""
        blocked_R, passed_R = self._counts.reshape(2, -1).tolist()
        blocked, passed = sum(blocked_R), sum(passed_R)
        reasons = [
            (f"{verdict} {label}", count)
            for verdict, counts in (("pass", passed_R), ("block", blocked_R))
            for label, count in zip(REASON_LABELS, counts, strict=True)
        ]
        return {
            "model_version": self.version,
            "target_rate": self.target_rate,
            "passed": passed,
            "blocked": blocked,
            "reasons": {name: count for name, count in reasons if count},
            "achieved_rate": blocked / (passed + blocked) if passed + blocked else None,
            "distrusted_stamps": self.policy.distrusted_stamps,
        }


def _matrix(frame: pl.DataFrame, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Columns side by side, shape (N, T)."""
    return np.stack([frame[name].to_numpy() for name in names], axis=1)
