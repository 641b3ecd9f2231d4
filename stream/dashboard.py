"""The demo's live table: what the workers do right now, from their own metrics."""

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from stream.scrape import WorkerSample, merge

#: Without a terminal, one line is printed this often.
LINE_EVERY_S: Final = 5.0


class Dashboard:
    """A live table on a terminal, a line now and then elsewhere.

    Args:
        console: Where it is shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._before: dict[int, tuple[float, WorkerSample]] = {}
        self._printed = 0.0

    def __enter__(self) -> Self:
        """Take the screen."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it back, with the last table left standing."""
        if self._console.is_terminal:
            self._live.stop()

    def show(self, samples: dict[int, WorkerSample], outcomes: int, examples: int) -> None:
        """Show ``samples`` by metrics port, with speeds since the last call."""
        now = time.monotonic()
        rows = [
            (f"worker {number}", sample, *self._speeds(port, now, sample))
            for number, (port, sample) in enumerate(sorted(samples.items()), 1)
        ]
        if not rows:
            return
        total = merge(samples.values())
        speeds = [sum(column) for column in zip(*(row[2:] for row in rows), strict=True)]
        rows.append(("all", total, *speeds))
        if self._console.is_terminal:
            self._live.update(self._table(rows, outcomes, examples))
        elif now - self._printed >= LINE_EVERY_S:
            self._printed = now
            self._console.print(
                f"{speeds[0]:,.0f} requests/s in, {speeds[1]:,.0f} passed, {speeds[2]:,.0f} "
                f"blocked; rate {total.achieved:.3f} of {total.target:g}; lag {total.lag:,.0f}; "
                f"p99 {total.p99_ms():.1f} ms; outcomes {outcomes:,}; examples {examples:,}; "
                f"model {total.model}",
                highlight=False,
            )

    def _speeds(self, port: int, now: float, sample: WorkerSample) -> tuple[float, float, float]:
        then, before = self._before.get(port, (now - 1.0, sample))
        if now - then >= 1.0:
            self._before[port] = (now, sample)
        seconds = max(now - then, 1e-9)
        return (
            (sample.requests - before.requests) / seconds,
            (sample.passed - before.passed) / seconds,
            (sample.blocked - before.blocked) / seconds,
        )

    @staticmethod
    def _table(
        rows: list[tuple[str, WorkerSample, float, float, float]], outcomes: int, examples: int
    ) -> Table:
        table = Table(caption=f"outcomes {outcomes:,}   training examples {examples:,}")
        for heading in (
            "", "in/s", "passed/s", "blocked/s", "rate", "target", "threshold", "lag",
            "p99 ms/chunk", "model",
        ):  # fmt: skip
            table.add_column(heading, justify="left" if heading in {"", "model"} else "right")
        for name, sample, arriving, passed, blocked in rows:
            table.add_row(
                name,
                f"{arriving:,.0f}",
                f"{passed:,.0f}",
                f"{blocked:,.0f}",
                f"{sample.achieved:.4f}",
                f"{sample.target:g}",
                f"{sample.threshold:.4g}",
                f"{sample.lag:,.0f}",
                f"{sample.p99_ms():.1f}",
                sample.model,
            )
        return table
