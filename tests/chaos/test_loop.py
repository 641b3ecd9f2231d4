"""Kills through the loop: what is drawn, what is compared, and the short version of the run."""

import dataclasses
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.loop.final import Deliveries, FinalState, differences
from chaos.loop.history import CLOCK_MS, ROUND_MS, clock_records, draw_history
from chaos.loop.kills import Moment, Target, draw_kills
from chaos.loop.report import failures, record
from chaos.loop.scenario import Scenario, compare
from models.tasks import DEFAULT_TASKS
from stream.brokers.embedded import EmbeddedBroker
from trainer.store.windows import AttributionWindows

NOW_MS = 1_790_000_000_000
STATE = FinalState({"a1": "h"}, {}, {}, {"v": 1}, {0: ("v", "", "rebuild")}, {}, {})


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_change_nothing_that_is_learned(tmp_path: Path) -> None:
    """Six kill -9 through two rebuilds: store and registry are those of a run without any."""
    scenario = Scenario(seed=3, kills=6, rounds=2, requests=1_200, stream_s=10.0)

    def brokers(folder: Path) -> EmbeddedBroker:
        return EmbeddedBroker(folder / "broker.log")

    compared = compare(scenario, tmp_path, brokers, print)
    assert failures(scenario, compared) == []
    assert len(compared.disturbed.kills) + len(compared.disturbed.missed) == 6
    assert len(compared.disturbed.kills) >= 4


def test_the_history_is_that_of_its_seed() -> None:
    """All labels of a round are final by its clock, and none before; nothing is in the future."""
    history = draw_history(5, 3, 1_000, NOW_MS)
    assert history == draw_history(5, 3, 1_000, NOW_MS)
    assert history != draw_history(6, 3, 1_000, NOW_MS)
    windows = AttributionWindows(DEFAULT_TASKS, 1.0, 60.0)
    slowest = DEFAULT_TASKS.names.index("deal")
    for made, after in zip(history, [*history[1:], None], strict=True):
        times = [record.timestamp for record in made.requests]
        assert len(set(made.ids)) == len(times) == 1_000
        assert len(set(times)) < 1_000
        assert max(times) < windows.final_before(slowest, made.clock_ms)
        assert max(outcome.ts for outcome in made.outcomes) <= made.clock_ms <= NOW_MS
        assert {outcome.task for outcome in made.outcomes} == set(DEFAULT_TASKS.names)
        if after is not None:
            first = after.requests[0].timestamp
            assert made.clock_ms < first == times[0] + ROUND_MS
            assert windows.final_before(slowest, first) < first
    assert {record.timestamp for record in clock_records(7)} == {7}
    assert CLOCK_MS < ROUND_MS


def test_kills_are_those_of_their_seed() -> None:
    """As many as asked for, in every round and at every moment, few of them in one rebuild."""
    kills = draw_kills(2, 50, 5)
    assert len(kills) == 50
    assert kills == draw_kills(2, 50, 5) != draw_kills(3, 50, 5)
    assert Counter(kill.round for kill in kills) == dict.fromkeys(range(5), 10)
    assert {kill.moment for kill in kills} == set(Moment)
    assert {kill.target for kill in kills} == set(Target)
    interrupting = {Moment.REBUILDING, Moment.PUBLISHING, Moment.CONCLUDED}
    per_round = Counter(kill.round for kill in kills if kill.moment in interrupting)
    assert max(per_round.values()) <= 2
    assert len(draw_kills(2, 3, 2)) == 3


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(FinalState)])
def test_every_part_is_compared(field: str) -> None:
    """What is missing, added or other in any part is one difference that names it."""
    assert differences(STATE, STATE) == []
    other = dataclasses.replace(STATE, **{field: {**getattr(STATE, field), "new": "x"}})
    (found,) = differences(STATE, other)
    assert found.startswith(f"{field}: 1 of ")
    assert "new: None and x" in found


def found(**parts: Any) -> Any:
    """A run in which all went well but for `parts`."""
    usual = {
        "state": STATE,
        "deliveries": Deliveries(1, 0, 0),
        "kills": [],
        "missed": [],
        "ended": [],
        "rebuild_s": [1.0],
        "seconds": 2.0,
    }
    return SimpleNamespace(**usual | parts)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"deliveries": Deliveries(2, 0, 1)}, "1 records were stored more than once"),
        ({"state": dataclasses.replace(STATE, requests={})}, "1 of 1 requests are not"),
        ({"state": dataclasses.replace(STATE, requests={"a1": "h i"})}, "different content"),
        ({"state": dataclasses.replace(STATE, announcements={})}, "announced []"),
        ({"ended": [SimpleNamespace(name="feedback", status=1)]}, "feedback ended by itself"),
    ],
)
def test_every_failure_is_named(parts: dict[str, Any], named: str) -> None:
    """One thing wrong in a run is one failure, and a difference between the runs is another."""
    scenario = Scenario(rounds=1, requests=1)
    well = SimpleNamespace(undisturbed=found(), disturbed=found(), differences=[])
    assert failures(scenario, well) == []
    wrong = SimpleNamespace(undisturbed=found(), disturbed=found(**parts), differences=["a: b"])
    ours, theirs = failures(scenario, wrong)
    assert ours == "store and registry: a: b"
    assert theirs.startswith("disturbed: ")
    assert named in theirs


def test_the_record_has_the_verdict() -> None:
    """What went well is written down as such."""
    compared = SimpleNamespace(undisturbed=found(), disturbed=found(), differences=[])
    made = record(Scenario(rounds=1, requests=1), compared, datetime(2026, 5, 1, tzinfo=UTC))
    assert (made["ok"], made["failures"], made["versions"]) == (True, [], 1)
