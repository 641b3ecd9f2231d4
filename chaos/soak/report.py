"""The record of a soak: JSON to keep, a table to print, and the failures it found."""

from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import Any, Final

from rich.table import Table

from chaos.soak.roles import Role, limits
from chaos.soak.run import Found, Plan

MIB: Final = 1 << 20
START_LINES: Final = 200
"""Lines that may be logged at a start: Faust logs its services, a rebalance its partitions."""
LINES_PER_MINUTE: Final = 10.0
"""More than a healthy process logs afterwards."""
STOP_S: Final = 10.0
GROWTH: Final = 1.05
SLACK: Final = 24 * MIB
"""Memory of the last third may be GROWTH times that of the second third, plus SLACK."""
SHORT_S: Final = 600.0
"""Shortest run for this check: before, memory grows because caches fill."""


def record(plan: Plan, found: Found, now: datetime) -> dict[str, Any]:
    """All figures of a run."""
    assert found.account is not None
    faults = failures(found)
    sample = found.merged
    return {
        "date": now.isoformat(timespec="seconds"),
        "minutes": plan.minutes,
        "rate": plan.rate,
        "guarantee": plan.guarantee,
        "workers": plan.workers,
        "seconds": round(found.seconds, 1),
        "planned": plan.requests,
        "decided": found.decided,
        "achieved": round(sample.achieved, 4),
        "p99_ms_per_chunk": round(sample.p99_ms(), 1),
        "examples": found.examples,
        "alerts": None if found.alerts is None else sorted(found.alerts),
        "longest_stop_s": round(found.stop_s, 1),
        "roles": {role.name: _figures(role, found) for role in found.roles},
        "account": found.account.summary(),
        "faults": [str(fault) for fault in found.account.faults],
        "failures": faults,
        "ok": not faults,
    }


def failures(found: Found) -> list[str]:
    """The failures of a run, one sentence each; none is a success."""
    assert found.account is not None
    faults = [fault for role in found.roles for fault in _faults(role, found)]
    if found.late:
        faults.append("requests were left undecided at the deadline")
    if not found.account.exact:
        faults.append("the account is not exact")
    if found.alerts:
        faults.append(f"alerts fired: {', '.join(sorted(found.alerts))}")
    if found.stop_s > STOP_S:
        faults.append(f"a stop took {found.stop_s:.1f} s")
    return faults


def _faults(role: Role, found: Found) -> list[str]:
    faults = []
    if role.ended:
        faults.append(f"{role.name} exited unexpectedly")
    elif role.child is not None and role.status != 0:
        faults.append(f"{role.name} ended with status {role.status} when it was stopped")
    most, bound = max((own for _, own in role.memory), default=0), limits()[role.service]
    if role.child is not None and most > bound:
        faults.append(f"{role.name} took {most / MIB:.0f} MiB of {bound / MIB:.0f}")
    if not flat(role, found):
        faults.append(f"{role.name}: memory grows")
    if role.lines() > START_LINES + LINES_PER_MINUTE * found.seconds / 60:
        faults.append(f"{role.name} logged {role.lines()} lines")
    return faults


def flat(role: Role, found: Found) -> bool:
    """Whether memory does not grow from the second to the last third.

    Brokers cache, and a trainer's memory depends on its rebuilds: for them only limits apply.
    """
    if role.service in {"kafka", "trainer"} or found.seconds < SHORT_S or not role.memory:
        return True
    before, after = _thirds([own for _, own in role.memory])
    return after <= GROWTH * before + SLACK


def _thirds(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the second and of the last third."""
    third = max(1, len(values) // 3)
    return median(values[-2 * third : -third] or values), median(values[-third:])


def _figures(role: Role, found: Found) -> dict[str, Any]:
    own = [bytes_ for _, bytes_ in role.memory] or [0]
    third = max(1, len(own) // 3)
    minutes = max(1.0, found.seconds / 60)
    return {
        "memory_mib": {
            "first_third": round(median(own[:third]) / MIB),
            "last_third": round(median(own[-third:]) / MIB),
            "most": round(max(own) / MIB),
            "limit": round(limits()[role.service] / MIB),
        },
        "cores": round(role.processor_s / max(found.seconds, 1.0), 2),
        "log_lines_per_minute": round(role.lines() / minutes, 2),
        "status": role.status,
    }


def table(run: dict[str, Any]) -> Table:
    """Table of the roles, to print."""
    shown = Table(
        title=f"{run['decided']:,} requests in {run['seconds']:,.0f} s",
        caption="ok" if run["ok"] else "; ".join(run["failures"]),
    )
    for heading in ("", "MiB first third", "last third", "most", "limit", "cores", "lines/min"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, role in run["roles"].items():
        memory = role["memory_mib"]
        shown.add_row(
            name,
            *(str(memory[key]) for key in ("first_third", "last_third", "most", "limit")),
            str(role["cores"]),
            str(role["log_lines_per_minute"]),
        )
    return shown
