"""The metric families of an intercept worker, by subject; each group registers its own.

Counters and gauges are prometheus-client's own; what is observed per request is counted by arrays
(`stream/metrics/histogram.py`).
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream.messages import REASON_LABELS, RejectCode
from stream.metrics.histogram import ArrayHistogram

STAGES: Final = ("read", "score", "decide", "route")
"""They run one after another, so that their times add up; writing goes on in parallel."""
LATENCY_BUCKETS: Final = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
    30.0, 60.0, 300.0,
)  # fmt: skip
SCORE_BUCKETS: Final = (
    0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
)  # fmt: skip
UNCERTAINTY_BUCKETS: Final = (0.0003, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.5)
SECONDS_BUCKETS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
SIZE_BUCKETS: Final = (1, 3, 10, 30, 100, 200, 500, 1000, 2000, 5000, 10_000)


class RequestFamilies:
    """Requests, verdicts and dead letters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.consumed = Counter("weir_requests", "Requests consumed.", registry=registry)
        verdicts = Counter(
            "weir_verdicts",
            "Requests decided, by verdict and reason.",
            ["verdict", "reason"],
            registry=registry,
        )
        self.rejects = Counter(
            "weir_rejects", "Records sent to the dead-letter topic.", ["code"], registry=registry
        )
        for code in RejectCode:
            self.rejects.labels(code.value)
        self.verdicts = {
            (passed, index): verdicts.labels("pass" if passed else "block", label)
            for passed, labels in ((True, REASON_LABELS), (False, REASON_LABELS[:1]))
            for index, label in enumerate(labels)
        }
        """Counters by verdict (True for pass) and index of the reason."""


class RateFamilies:
    """The intercept rate: its target, the achieved rate, and the stream's clock."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.achieved = Gauge(
            "weir_rate_achieved",
            "Share intercepted in the controller's window.",
            registry=registry,
        )
        self.target = Gauge(
            "weir_rate_target",
            "Share of the requests decided last that settings, budget and capacity ask for.",
            registry=registry,
        )
        self.due = Counter(
            "weir_intercepts_due",
            "Requests that settings, budgets and capacities asked to intercept.",
            registry=registry,
        )
        self.capacity = Gauge(
            "weir_capacity",
            "Requests per second that all workers together may pass; 0 without a limit.",
            registry=registry,
        )
        self.threshold = Gauge(
            "weir_threshold", "Reward that is needed to pass by score.", registry=registry
        )
        self.distrusted = Counter(
            "weir_distrusted_stamps",
            "Timestamps of requests that the stream's clock did not follow.",
            registry=registry,
        )


class ScoreFamilies:
    """The student's scores and uncertainties, by task."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.scores = ArrayHistogram("weir_score", "Student's score.", "task", SCORE_BUCKETS)
        self.uncertainties = ArrayHistogram(
            "weir_uncertainty", "Student's uncertainty.", "task", UNCERTAINTY_BUCKETS
        )
        registry.register(self.scores)
        registry.register(self.uncertainties)


class TimeFamilies:
    """Durations of chunks, their stages and their writing; latency of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stages = Histogram(
            "weir_stage_seconds",
            "Time of one stage for at most 1,024 requests.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        for stage in STAGES:
            self.stages.labels(stage)
        self.write_seconds = Histogram(
            "weir_write_seconds",
            "Time until a chunk's outputs are acknowledged; several chunks are written at a time.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.writing = Counter(
            "weir_writing_seconds",
            "Time in which at least one chunk was being written.",
            registry=registry,
        )
        self.latency = ArrayHistogram(
            "weir_latency_seconds",
            "Time from a request's own timestamp to the acknowledgement of its output.",
            "",
            LATENCY_BUCKETS,
        )
        registry.register(self.latency)
        self.latency_ignored = Counter(
            "weir_latency_ignored",
            "Requests whose timestamp is far ahead, or older than a day.",
            registry=registry,
        )
        self.chunk_seconds = Histogram(
            "weir_chunk_seconds",
            "Time from a chunk's arrival in the agent to its acknowledgement.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.chunk_records = Histogram(
            "weir_chunk_records", "Records in a chunk.", buckets=SIZE_BUCKETS, registry=registry
        )


class ModelFamilies:
    """The serving model, swaps and refused artifacts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.fail_open = Gauge(
            "weir_fail_open", "1 while no model serves and everything passes.", registry=registry
        )
        self.info = Gauge(
            "weir_model_info",
            "The models in use: 1 for each, by version and role (serve, canary, shadow).",
            ["version", "role"],
            registry=registry,
        )
        self.versions = Gauge(
            "weir_model_versions",
            "Partitions that a version decides, over the whole fleet.",
            ["version"],
            registry=registry,
        )
        self.age = Gauge("weir_model_age_seconds", "Age of the serving model.", registry=registry)
        self.swaps = Counter("weir_model_swaps", "Models put in service.", registry=registry)
        self.refusals = Counter(
            "weir_model_refusals", "Artifacts refused, by code.", ["code"], registry=registry
        )


class ChallengerFamilies:
    """What a canary decided, and what a shadow would have decided."""

    def __init__(self, registry: CollectorRegistry) -> None:
        canary = Counter(
            "weir_canary_verdicts",
            "Requests decided by a canary, by verdict.",
            ["verdict"],
            registry=registry,
        )
        self.canary = {True: canary.labels("pass"), False: canary.labels("block")}
        """Counters by verdict, True for pass."""
        shadow = Counter(
            "weir_shadow_verdicts",
            "Requests scored by a shadow, by what was decided and what it would have decided.",
            ["actual", "would"],
            registry=registry,
        )
        self.shadow = {
            (passed, would): shadow.labels(
                "pass" if passed else "block", "pass" if would else "block"
            )
            for passed in (True, False)
            for would in (True, False)
        }
        """Counters by what was decided and what would have been, True for pass."""
        self.skipped = Counter(
            "weir_shadow_skipped",
            "Requests that a shadow did not score because it was busy.",
            registry=registry,
        )
        self.scores = Counter(
            "weir_shadow_scores",
            "Sum of the scores of the requests that a shadow scored, its own and those in force.",
            ["task", "role"],
            registry=registry,
        )
        self.uncertainties = Counter(
            "weir_shadow_uncertainties",
            "Sum of the uncertainties of these requests, the shadow's own and those in force.",
            ["task", "role"],
            registry=registry,
        )


class ControlFamilies:
    """Control messages in force, and whether the rate is shared with the fleet."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.revision = Gauge(
            "weir_control_revision",
            "Offset of the newest message on the control topic that is in force; -1 for none.",
            registry=registry,
        )
        self.revision.set(-1)
        self.fleet_shared = Gauge(
            "weir_fleet_shared",
            "1 while the rate is held together with the fleet, 0 while alone.",
            registry=registry,
        )
