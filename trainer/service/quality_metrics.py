"""Prometheus metrics of label maturity, live quality and drift."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from trainer.quality.figures import DELAY_QUANTILES, Quality, ScenarioQuality, TaskQuality
from trainer.service.maturity import Maturity

TOP_FEATURES: Final = 10
"""Number of features whose drift is exported: those that have drifted most."""
_TASK_FIGURES: Final[Mapping[str, str]] = {
    "rows": "Requests with a final label that the figures of a task are of.",
    "positives": "Positives among them.",
    "label_rate": "Share of positives among them.",
    "expected": "Mean score of them by the serving model.",
    "calibration": "Label rate over mean score: above 1 the model says too little.",
    "error": "Standard error of the calibration, if the scores are right.",
    "ece": "Expected calibration error.",
    "auc": "Area under the ROC curve.",
    "learned_from": "1 if the model learned from these requests, since newer ones are too few.",
}


_SCENARIO_FIGURES: Final = ("label_rate", "calibration", "error", "auc")


class _ScenarioGauges:
    """The gauges of what passed, by scenario."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._figures = {
            name: Gauge(
                f"weir_quality_scenario_{name}",
                _TASK_FIGURES[name],
                ("task", "scenario"),
                registry=registry,
            )
            for name in _SCENARIO_FIGURES
        }
        self._share = Gauge(
            "weir_quality_scenario_passed_share",
            "Share of what passed, by scenario.",
            ("scenario",),
            registry=registry,
        )
        self._value = Gauge(
            "weir_quality_scenario_value",
            "Value of its events per request of the scenario that passed.",
            ("scenario",),
            registry=registry,
        )

    def measured(self, by_scenario: Mapping[str, ScenarioQuality]) -> None:
        """Set them; what is not measured has no sample."""
        for gauge in (*self._figures.values(), self._share, self._value):
            gauge.clear()
        for scenario, quality in by_scenario.items():
            self._share.labels(scenario).set(quality.share)
            self._value.labels(scenario).set(quality.value)
            for task, figures in quality.tasks.items():
                for name, gauge in self._figures.items():
                    value = getattr(figures, name)
                    if value is not None:
                        gauge.labels(task, scenario).set(value)


class QualityMetrics:
    """The gauges of live quality; what is not measured has no sample.

    Args:
        registry: Registry of the trainer.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._known = self._gauge(
            "weir_trainer_known_share",
            "Share of passed requests, as the store weighs them, whose label is final.",
            "task",
        )
        self._open = self._gauge(
            "weir_trainer_open_examples",
            "Passed requests, as the store weighs them, whose label is not final.",
            "task",
        )
        self._due = self._gauge(
            "weir_trainer_due_examples",
            "Passed requests, as the store weighs them, whose label is final in a day.",
            "task",
        )
        self._figures = {
            name: self._gauge(f"weir_quality_{name}", documentation, "task")
            for name, documentation in _TASK_FIGURES.items()
        }
        self._delays = self._gauge(
            "weir_quality_delay_seconds",
            "Quantiles of the time from a request to its event.",
            "task",
            "quantile",
        )
        self._share = self._gauge(
            "weir_quality_passed_share", "Share of what passed, by reason.", "reason"
        )
        self._value = self._gauge(
            "weir_quality_value", "Value of its events per request that passed.", "reason"
        )
        self._by_scenario = _ScenarioGauges(registry)
        self._measured = self._gauge(
            "weir_quality_timestamp_seconds",
            "When live quality was measured last, in seconds since the epoch; 0 before.",
        )
        self._model = self._gauge(
            "weir_quality_info", "Version of the model whose quality was measured; 1.", "version"
        )
        self._features = self._gauge(
            "weir_drift_psi", "PSI of the features that have drifted most.", "feature"
        )
        self._most = self._gauge("weir_drift_psi_max", "Largest PSI of a feature.")
        self._scores = self._gauge("weir_drift_score_psi", "PSI of the scores.", "task")
        self._alarm = self._gauge(
            "weir_drift_alarm", "1 while a PSI is above trainer.drift_alarm, else 0."
        )

    def matured(self, by_task: Mapping[str, Maturity]) -> None:
        """Set the gauges of label maturity."""
        for task, maturity in by_task.items():
            self._known.labels(task).set(maturity.known)
            self._open.labels(task).set(maturity.open)
            self._due.labels(task).set(maturity.due)

    def measured(self, quality: Quality, now_s: float, *, alarm: bool) -> None:
        """Set the gauges of quality and drift."""
        self._measured.set(now_s)
        for gauge in (*self._figures.values(), self._delays, self._share, self._value):
            gauge.clear()
        for gauge in (self._features, self._scores, self._model):
            gauge.clear()
        self._model.labels(quality.version).set(1)
        for task, figures in quality.tasks.items():
            self._task(task, figures)
        for reason, passed in quality.reasons.items():
            self._share.labels(reason).set(passed.share)
            self._value.labels(reason).set(passed.value)
        self._by_scenario.measured(quality.scenarios)
        for feature, psi in most_drifted(quality)[:TOP_FEATURES]:
            self._features.labels(feature).set(psi)
        self._most.set(max(quality.feature_psi.values(), default=0.0))
        for task, psi in quality.score_psi.items():
            self._scores.labels(task).set(psi)
        self._alarm.set(alarm)

    def _task(self, task: str, figures: TaskQuality) -> None:
        for name, gauge in self._figures.items():
            value = getattr(figures, name)
            if value is not None:
                gauge.labels(task).set(value)
        for quantile, delay_s in zip(DELAY_QUANTILES, figures.delays_s, strict=False):
            self._delays.labels(task, f"{quantile:g}").set(delay_s)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, registry=self._registry)


def most_drifted(quality: Quality) -> list[tuple[str, float]]:
    """Features and their PSI, the largest first."""
    return sorted(quality.feature_psi.items(), key=lambda each: -each[1])
