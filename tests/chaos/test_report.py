"""Failures of a run."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.fleet import Crash, Stop
from chaos.report import failures
from chaos.run import Log, Outage, Zombie
from stream.verify.account import Account, FaultKind


def run(guarantee: str = "exactly-once", **parts: Any) -> Any:
    """A run in which all went well but for `parts`."""
    return SimpleNamespace(
        scenario=SimpleNamespace(guarantee=guarantee),
        log=parts.get("log", Log()),
        watcher=SimpleNamespace(rewound=parts.get("rewound", [])),
        fleet=SimpleNamespace(stops=parts.get("stops", []), crashes=parts.get("crashes", [])),
    )


def test_all_well_is_no_failure() -> None:
    """Times within the limits are no failures."""
    log = Log(zombies=[Zombie("w", 9.0, True, 3.0)], outages=[Outage("broker-kill", 1, 59.0)])
    assert (
        failures(
            run(
                log=log, stops=[Stop("w", 4.9, 0, started=True), Stop("w", 0.1, -15, started=False)]
            ),
            Account(requests=1),
        )
        == []
    )


@pytest.mark.parametrize(
    "wrong",
    [
        run(log=Log(stalled="nothing moves")),
        run(log=Log(zombies=[Zombie("w", 9.0, True)])),
        run(log=Log(outages=[Outage("broker-kill", 1)])),
        run(log=Log(outages=[Outage("broker-kill", 1, 60.1)])),
        run(rewound=["[0] from 5 to 3"]),
        run(stops=[Stop("w", 5.1, 0, started=True)]),
        run(stops=[Stop("w", 1.0, 1, started=True)]),
        run(crashes=[Crash("w", 1, "")]),
    ],
)
def test_every_failure_is_reported(wrong: Any) -> None:
    """One thing wrong is one failure."""
    assert len(failures(wrong, Account(requests=1))) == 1


def test_repeats_are_allowed_to_at_least_once_alone() -> None:
    """Doubled and reordered records fail exactly-once only; lost ones fail both."""
    repeats = Account(counts=Counter({FaultKind.DOUBLED: 3, FaultKind.REORDERED: 1}))
    assert len(failures(run("exactly-once"), repeats)) == 2
    assert failures(run("at-least-once"), repeats) == []
    lost = Account(counts=Counter({FaultKind.MISSING: 1}))
    assert len(failures(run("at-least-once"), lost)) == 1
