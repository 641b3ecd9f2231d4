"""The policy: from scores and uncertainties to decisions, t = h(s, u), e = f(t), pass or block.

Composes confidence (eq. 9), reward (eq. 8), the interception-rate controller (eq. 7) and
exploration. It is the last step before routing; worker and replay both call it.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.manifest import AutoEvidence
from models.settings import PolicySettings
from models.tasks import TaskSet
from stream.policy.confidence import Confidence, follow
from stream.policy.controller import InterceptionController
from stream.policy.errors import PolicyError
from stream.policy.exploration import draw
from stream.policy.reward import build_reward
from stream.records import Reason

SNAPSHOT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was decided about N requests; arrays of shape (N,).

    Attributes:
        passed_N: bool.
        reason_N: uint8, a :class:`stream.records.Reason`.
        reward_N: float32, e (eq. 8); NaN where scores gave none.
        threshold_N: float32, the reward that was needed to pass by score, always finite. The
            greatest float32 says that no pass was left to give, the least that one was overdue.
        propensity_N: float64, in (0, 1]: the probability of the verdict (passed or blocked) given
            the request and the policy's state before it, over the draws of exploration, the only
            chance in it. A request that would pass without exploring has 1 (``score`` by its
            reward, ``uncertain`` directly); one that would not has eps when it passes
            (``explore``) and 1 - eps when it is blocked. eps is ``explore``, or less where the
            passes 1 - r leave no room for it.
    """

    passed_N: npt.NDArray[np.bool_]
    reason_N: npt.NDArray[np.uint8]
    reward_N: npt.NDArray[np.float32]
    threshold_N: npt.NDArray[np.float32]
    propensity_N: npt.NDArray[np.float64]


class Policy:
    """Decides a stream of requests; holds the controller's state.

    Args:
        settings: What to intercept.
        tasks: The tasks of the student, in the order of its columns.

    Raises:
        PolicyError: Naming the key and the fix; an ExpressionError also the column.
    """

    def __init__(self, settings: PolicySettings, tasks: TaskSet) -> None:
        self._settings = settings
        self._tasks = tasks
        self._seed = settings.seed
        self._confidence = Confidence(settings, tasks)
        self._reward = build_reward(settings.reward, settings.weights, tasks)
        self._controller = InterceptionController(
            settings.rate,
            explore=settings.explore,
            slack=settings.slack,
            requests=settings.window.requests,
            seconds=settings.window.seconds,
        )
        self.follow(None)

    @property
    def target(self) -> float:
        """r, the share of requests to intercept."""
        return self._controller.rate

    @property
    def achieved(self) -> float:
        """Share intercepted of the last 10,000 requests (fewer at the start; NaN before any)."""
        return self._controller.achieved

    @property
    def threshold(self) -> float:
        """The reward needed to pass when nothing is owed; NaN before the first request."""
        return self._controller.threshold

    def decide(
        self,
        hashes_N: npt.NDArray[np.uint64],
        timestamps_N: npt.NDArray[np.int64],
        scores_NT: npt.NDArray[np.float32],
        uncertainties_NT: npt.NDArray[np.float32],
    ) -> Decisions:
        """Decide the next N requests of the stream, in order.

        Args:
            hashes_N: xxh3_64 of the request ids, uint64.
            timestamps_N: The records' timestamps in milliseconds, int64.
            scores_NT: Probabilities, each on its task's own population, float32.
            uncertainties_NT: Standard deviations of those probabilities, float32.

        Returns:
            The decisions.
        """
        reward_N = self._reward(self._confidence(scores_NT, uncertainties_NT))
        explore = self._controller.explore
        granted_N = draw(hashes_N, self._seed) < explore if explore > 0.0 else None
        verdicts = self._controller.decide(
            reward_N, self._confidence.direct(uncertainties_NT), timestamps_N, granted_N
        )
        explored_N = verdicts.passed_N & ~verdicts.chosen_N
        reason_N = np.full(len(reward_N), Reason.SCORE, np.uint8)
        reason_N[verdicts.direct_N] = Reason.UNCERTAIN
        reason_N[explored_N] = Reason.EXPLORE
        propensity_N = np.where(verdicts.passed_N, 1.0, 1.0 - explore)
        propensity_N[explored_N] = explore
        return Decisions(verdicts.passed_N, reason_N, reward_N, verdicts.threshold_N, propensity_N)

    def follow(self, evidence: AutoEvidence | None) -> None:
        """Where the settings say ``auto``, pass directly from the next request on what paid.

        Args:
            evidence: Of the artifact that serves; without any nothing passes directly.

        Raises:
            PolicyError: If it names a task that is not there.
        """
        settings = follow(self._settings, evidence, self._tasks)
        self._confidence = Confidence(settings, self._tasks)
        share = settings.direct_share if self._confidence.passes_uncertain else 0.0
        self._controller.redirect(float(share))

    def retarget(self, rate: float) -> None:
        """Intercept another share from the next request on; passes owed stay owed."""
        self._controller.retarget(rate)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON-able data; settings are not part of it."""
        return {"version": SNAPSHOT_VERSION, "controller": self._controller.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where the policy of a :meth:`snapshot` stood.

        Raises:
            PolicyError: If the snapshot is of another version, or damaged; the policy then goes
                on as it was.
        """
        if state.get("version") != SNAPSHOT_VERSION:
            raise PolicyError(
                f"policy snapshot: version {SNAPSHOT_VERSION} expected, "
                f"{state.get('version')!r} found; start without it"
            )
        before = self._controller.snapshot()
        try:
            self._controller.restore(state["controller"])
        except (KeyError, TypeError, ValueError) as error:
            self._controller.restore(before)
            raise PolicyError(f"policy snapshot: damaged ({error!r}); start without it") from error
