"""The record of a scenario: JSON to keep, a table to print, and the failures it found."""

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.table import Table

from chaos.loop.run import Found
from chaos.loop.scenario import Compared, Scenario


def record(scenario: Scenario, compared: Compared, now: datetime) -> dict[str, Any]:
    """All figures of a scenario."""
    disturbed, state = compared.disturbed, compared.disturbed.state
    hits = Counter(f"{kill.target}, {kill.moment}" for kill in disturbed.kills)
    faults = failures(scenario, compared)
    return {
        "date": now.isoformat(timespec="seconds"),
        **asdict(scenario),
        "kill_9": len(disturbed.kills),
        "kills_by_moment": dict(hits.most_common()),
        "kills_missed": [f"{kill.target}, {kill.moment}" for kill in disturbed.missed],
        "requests_stored": len(state.requests),
        "outcomes_stored": len(state.outcomes),
        "versions": len(state.versions),
        "announcements": len(state.announcements),
        "deliveries": {
            "undisturbed": asdict(compared.undisturbed.deliveries),
            "disturbed": asdict(disturbed.deliveries),
        },
        "rebuild_s": {
            "undisturbed": [round(each, 1) for each in compared.undisturbed.rebuild_s],
            "disturbed": [round(each, 1) for each in disturbed.rebuild_s],
        },
        "seconds": {
            "undisturbed": round(compared.undisturbed.seconds),
            "disturbed": round(disturbed.seconds),
        },
        "ended": [each._asdict() for each in disturbed.ended],
        "differences": compared.differences,
        "failures": faults,
        "ok": not faults,
    }


def failures(scenario: Scenario, compared: Compared) -> list[str]:
    """What must not be; empty if all went well."""
    found = [f"store and registry: {line}" for line in compared.differences]
    for name, run in (("undisturbed", compared.undisturbed), ("disturbed", compared.disturbed)):
        found += [f"{name}: {line}" for line in _failures(scenario, run)]
    return found


def _failures(scenario: Scenario, run: Found) -> list[str]:
    found = [f"{each.name} ended by itself, status {each.status}" for each in run.ended]
    state = run.state
    wanted = scenario.rounds * scenario.requests
    if missing := wanted - len(state.requests):
        found.append(f"{missing} of {wanted} requests are not in the store")
    if run.deliveries.doubled:
        found.append(f"{run.deliveries.doubled} records were stored more than once")
    if uneven := [rid for rid, hashes in state.requests.items() if " " in hashes]:
        found.append(f"{len(uneven)} requests have deliveries of different content: {uneven[:3]}")
    announced = [version for version, _, _ in state.announcements.values()]
    if sorted(announced) != sorted(state.versions) or len(announced) != scenario.rounds:
        found.append(f"announced {announced}; published {sorted(state.versions)}")
    return found


def table(run: dict[str, Any]) -> Table:
    """The record as a table."""
    made = Table(title="Kills through the loop", show_header=False)
    for name, value in run.items():
        if isinstance(value, dict):
            text = "\n".join(f"{key}: {each}" for key, each in value.items())
        elif isinstance(value, list):
            text = "\n".join(map(str, value)) or "none"
        else:
            text = str(value)
        made.add_row(name, text)
    return made
