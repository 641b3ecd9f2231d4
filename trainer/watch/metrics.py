"""Metrics of the watch, in the trainer's registry."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from trainer.watch.verdict import Verdict

PROMISES: Final = ("calibration", "log-loss", "reward")


class WatchMetrics:
    """What the watch has found.

    Args:
        registry: The trainer's registry.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = Gauge(
            "weir_trainer_watch_rows",
            "Passed requests of the serving version that its last verdict rests on.",
            registry=registry,
        )
        self._ratio = Gauge(
            "weir_trainer_watch_ratio",
            "What was found, as a ratio to what was promised: events to scores, log-loss to that "
            "of the version before, value to that of the scores.",
            ["promise", "task"],
            registry=registry,
        )
        self._broken = Gauge(
            "weir_trainer_watch_broken",
            "1 while the serving version breaks a promise and there is nothing to go back to.",
            registry=registry,
        )
        self._rollbacks = Counter(
            "weir_trainer_rollbacks",
            "Versions that the trainer took back by itself, by the promise that was broken.",
            ["promise"],
            registry=registry,
        )
        for promise in PROMISES:
            self._rollbacks.labels(promise)
        self._errors = Counter(
            "weir_trainer_watch_errors",
            "Looks at the serving version that failed; they are repeated.",
            registry=registry,
        )

    def verdict(self, verdict: Verdict, *, stuck: bool) -> None:
        """Publish a verdict.

        Args:
            verdict: The verdict.
            stuck: Whether a promise is broken and there is no version to go back to.
        """
        self._rows.set(verdict.rows)
        self._ratio.clear()
        for finding in verdict.findings:
            if finding.rows:
                self._ratio.labels(finding.promise, finding.task).set(finding.found)
        self._broken.set(stuck)

    def unwatched(self) -> None:
        """Publish that no version is watched."""
        self._rows.set(0)
        self._ratio.clear()
        self._broken.set(0)

    def rolled_back(self, promise: str) -> None:
        """Count a version that was taken back."""
        self._rollbacks.labels(promise).inc()

    def failed(self) -> None:
        """Count a look that failed."""
        self._errors.inc()
