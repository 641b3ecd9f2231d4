"""``[policy]``: which share of the requests is intercepted, and by which score; per scenario."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from models import bounds
from models.settings.section import Section, Share

EVERYTHING: Final = "*"
"""Stands for a scenario's name: the defaults of all, and the requests of unnamed scenarios."""

DEFAULT_WEIGHTS: Final = {"click": 1.0, "online": 1.0, "cart": 5.0, "deal": 20.0}
"""Weights of the default tasks; other tasks need their own before anything is intercepted."""

TaskName = Annotated[str, Field(max_length=bounds.MAX_TASK_NAME)]
ScenarioName = Annotated[str, Field(min_length=1, max_length=bounds.MAX_SCENARIO_NAME)]
Weight = Annotated[float, Field(ge=-bounds.MAX_WEIGHT, le=bounds.MAX_WEIGHT)]


class WindowSettings(Section):
    """The sliding window of scores from which thresholds are taken.

    A longer window resolves the best few requests (a high rate) more finely; while scores drift,
    only its newest part is useful. The window does not set the rate, which the debt controls.

    Attributes:
        requests: N, the number of requests in the window; it takes at most 56 N bytes.
        seconds: T, the maximum age of a request in the window; None for no limit.
    """

    requests: int = Field(default=1_000, ge=100, le=bounds.MAX_WINDOW_REQUESTS)
    seconds: float | None = Field(default=None, gt=0, le=bounds.MAX_WINDOW_S)


class ConsumptionSettings(Section):
    """How reports on the spending of a budget adjust the rate (``stream/policy/rate/pacing.py``).

    Attributes:
        least: The lowest rate that reports may set.
        most: The highest rate that reports may set.
        gain: Share of the required correction that one report applies.
    """

    least: Share = 0.0
    most: Share = 1.0
    gain: float = Field(default=0.5, ge=0.001, le=1)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"consumption.least: {self.least:g} is above most ({self.most:g})")
        return self


class ScenarioSettings(Section):
    """The settings of one scenario; all of them can be changed while workers run.

    The bounds (`models/bounds.py`) are the same in the file and on the topic ``control``.

    Attributes:
        rate: Target share r of requests to intercept (eq. 7).
        capacity: Requests per second that downstream can take. If set, it replaces ``rate``: no
            more is intercepted than the capacity requires.
        consumption: If set, reports on the topic ``consumption`` adjust the rate, starting from
            ``rate``.
        reward: f (eq. 8): ``weighted-sum``, ``funnel-value``, or an arithmetic expression of the
            task names, such as ``deal * 20 + cart``.
        weights: Weight (weighted sum) or value (funnel) of each task.
        confidence: h (eq. 9).
        kappa: Weight of u in ``optimistic``: t = s + kappa u.
        reference: Score to exceed per task in ``probability-of-improvement``.
        direct_share: Share of *all* requests that ``pass-uncertain`` passes directly, counted
            within (1 - rate). ``auto`` uses the share that gained value on the held-out rows of
            the serving artifact; 0 where none did.
        uncertainty_source: Which task's uncertainty is used for which task: ``own``, ``daum`` (cart
            and deal use click's), or a mapping; ``auto`` as for ``direct_share``.
        explore: Probability eps with which a request that would be blocked passes with reason
            ``explore``. 0.01 did not pay for itself in reward (docs/loop.md): the default is 0;
            ``weir rate get`` shows the price.
        slack: Maximum debt, in passes, in either direction; the intercepted share of any n
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
    def _check_rate_source(self) -> Self:
        if self.capacity is not None and self.consumption is not None:
            raise ValueError("capacity and consumption: both set the rate; leave one out")
        return self


class PolicySettings(ScenarioSettings):
    """The settings of all scenarios, and how they differ between scenarios.

    Attributes:
        seed: Seed of every random decision, which is drawn from the request id.
        window: Window of scores from which thresholds are taken.
        scenario_path: Path of the scenario's name in a request, such as ``site.publisher.id``;
            empty if all requests share one policy.
        scenarios: Settings that differ from the ones above, by scenario. Requests of all scenarios
            that neither this table nor the topic ``control`` names share one policy.
    """

    seed: int = 0
    window: WindowSettings = WindowSettings()
    scenario_path: str = ""
    scenarios: dict[ScenarioName, dict[str, Any]] = Field(
        default={}, max_length=bounds.MAX_SCENARIOS
    )
