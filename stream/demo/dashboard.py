"""The demo's live table of throughput, rate and lag, from the workers' own metrics."""

import time
from types import TracebackType
from typing import Final, NamedTuple, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from stream.metrics.scrape import WorkerSample, merge

#: Without a terminal, one line is printed at this interval.
LINE_EVERY_S: Final = 5.0


class Row(NamedTuple):
    """One row of the table; throughputs in requests per second."""

    name: str
    sample: WorkerSample
    arriving: float
    passed: float
    blocked: float


class Dashboard:
    """A live table on a terminal, a line every few seconds elsewhere.

    Args:
        console: The console to print to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._before: dict[int, tuple[float, WorkerSample]] = {}
        self._printed = 0.0

    def __enter__(self) -> Self:
        """Start the live table."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the live table, which stays on the screen."""
        if self._console.is_terminal:
            self._live.stop()

    def show(self, samples: dict[int, WorkerSample], examples: float, outcomes: int) -> None:
        """Show ``samples`` by metrics port, with throughput since the last call."""
        now = time.monotonic()
        if not samples:
            return
        rows = [
            Row(f"worker {number}", sample, *self._throughput(port, now, sample))
            for number, (port, sample) in enumerate(sorted(samples.items()), 1)
        ]
        total = merge(samples.values())
        everything = Row(
            "all",
            total,
            sum(row.arriving for row in rows),
            sum(row.passed for row in rows),
            sum(row.blocked for row in rows),
        )
        rows.append(everything)
        if self._console.is_terminal:
            self._live.update(self._table(rows, examples, outcomes))
        elif now - self._printed >= LINE_EVERY_S:
            self._printed = now
            self._console.print(
                f"{everything.arriving:,.0f} requests/s in, {everything.passed:,.0f} passed, "
                f"{everything.blocked:,.0f} blocked; rate {total.achieved:.3f} of "
                f"{total.target:g}; lag {total.lag:,.0f}; p99 {total.p99_ms():.1f} ms; "
                f"examples {examples:,.0f}; outcomes {outcomes:,}; "
                f"model {total.model}",
                highlight=False,
                soft_wrap=True,
            )

    def _throughput(
        self, port: int, now: float, sample: WorkerSample
    ) -> tuple[float, float, float]:
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
    def _table(rows: list[Row], examples: float, outcomes: int) -> Table:
        table = Table(caption=f"training examples {examples:,.0f}   outcomes {outcomes:,}")
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
