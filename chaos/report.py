"""The record of a run: JSON to keep, a table to print, and the failures it found."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from rich.table import Table

from chaos.run import Run
from chaos.schedule import Kind
from stream.verify.account import Account, FaultKind

#: Limits on the time from SIGTERM to exit, and from a node's failure to progress.
STOP_S: Final = 5.0
PROGRESS_S: Final = 60.0
#: Faults that at-least-once allows: repeated records, which may be decided otherwise.
REPEATS: Final = frozenset({FaultKind.DOUBLED, FaultKind.REORDERED})


def record(run: Run, found: Account, now: datetime, aborted: int) -> dict[str, Any]:
    """All figures of a run.

    Args:
        run: The finished run.
        found: The verifier's account.
        now: End of the run.
        aborted: Number of output records of aborted transactions.
    """
    scenario, log, watcher, fleet = run.scenario, run.log, run.watcher, run.fleet
    kills = {str(kind): log.events[kind] for kind in Kind if log.events[kind]}
    faults = failures(run, found)
    return {
        "scenario": scenario.name,
        "date": now.isoformat(timespec="seconds"),
        "seed": scenario.seed,
        "guarantee": scenario.guarantee,
        "workers": scenario.workers,
        "nodes": scenario.nodes,
        "pace": scenario.pace,
        "kill_9": sum(count for kind, count in log.events.items() if kind.kills_worker),
        "events": kills,
        **found.summary(),
        "faults": [str(fault) for fault in found.faults],
        "aborted_records": aborted,
        "refused_by_brokers": run.traffic.refused,
        "rewound_commits": watcher.rewound,
        "longest_without_progress_s": round(watcher.longest_s, 1),
        "longest_without_progress_of_a_partition_s": round(watcher.longest_partition_s, 1),
        "outages": [vars(outage) for outage in log.outages],
        "zombies": [vars(zombie) for zombie in log.zombies],
        "stops": [stop._asdict() for stop in fleet.stops],
        "crashes": [crash._asdict() for crash in fleet.crashes],
        "stalled": log.stalled,
        "drained_s": round(log.drained_s, 1),
        "seconds": round(log.seconds, 1),
        "failures": faults,
        "ok": not faults,
    }


def failures(run: Run, found: Account) -> list[str]:
    """The failures of a run, one sentence each; none is a success."""
    log = run.log
    allowed = REPEATS if run.scenario.guarantee == "at-least-once" else frozenset()
    faults = [f"{count} {kind}" for kind, count in found.counts.items() if kind not in allowed]
    faults += [f"stalled: {log.stalled}"] if log.stalled else []
    faults += [f"commit went back: {rewound}" for rewound in run.watcher.rewound]
    faults += [
        f"{stop.name} took {stop.seconds} s to stop, status {stop.status}"
        for stop in run.fleet.stops
        if (stop.status and stop.started) or stop.seconds > STOP_S
    ]
    faults += [f"{crash.name} crashed, status {crash.status}" for crash in run.fleet.crashes]
    faults += [f"zombie {z.name} did not rejoin" for z in log.zombies if z.rejoined_s is None]
    faults += [
        f"{outage.event}: {outage.progress_s} s to progress"
        for outage in log.outages
        if outage.progress_s is None or outage.progress_s > PROGRESS_S
    ]
    return faults


def table(runs: list[dict[str, Any]]) -> Table:
    """Table of the runs, side by side."""
    shown = Table(title="Weir under failures")
    shown.add_column("figure")
    for run in runs:
        shown.add_column(f"{run['scenario']}, seed {run['seed']}", justify="right")
    for name, figure in FIGURES.items():
        shown.add_row(name, *(str(figure(run)) for run in runs))
    return shown


def _most(rows: list[dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows]
    return "-" if not values else "never" if None in values else f"{max(values):.1f} s"


FIGURES: Final[dict[str, Callable[[dict[str, Any]], object]]] = {
    "requests": lambda run: f"{run['requests']:,}",
    "kill -9 of workers": lambda run: run["kill_9"],
    "lost / doubled / reordered": lambda run: (
        f"{run['missing']} / {run['doubled']} / {run['reordered']}"
    ),
    "altered / unknown / uncommitted": lambda run: (
        f"{run['altered']} / {run['unknown']} / {run['uncommitted']}"
    ),
    "records of aborted transactions": lambda run: f"{run['aborted_records']:,}",
    "nodes killed or stopped": lambda run: len(run["outages"]),
    "longest time until progress afterwards": lambda run: _most(run["outages"], "progress_s"),
    "longest time without progress": lambda run: f"{run['longest_without_progress_s']} s",
    "longest time without progress of a partition": lambda run: (
        f"{run['longest_without_progress_of_a_partition_s']} s"
    ),
    "zombies expelled / rejoined": lambda run: (
        f"{sum(z['expelled'] for z in run['zombies'])} / "
        f"{sum(z['rejoined_s'] is not None for z in run['zombies'])}"
    ),
    "longest stop": lambda run: _most(run["stops"], "seconds"),
    "workers that crashed": lambda run: len(run["crashes"]),
    "duration": lambda run: f"{run['seconds']:.0f} s",
    "result": lambda run: "ok" if run["ok"] else "; ".join(run["failures"]),
}
