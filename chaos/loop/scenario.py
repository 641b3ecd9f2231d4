"""A scenario of kills through the loop: an undisturbed run, a disturbed one, and what differs.

Everything that would make the two differ by chance is fixed: the history is recorded
(:mod:`chaos.loop.history`), every request passes (r = 0), rebuilds start by the number of final
examples alone, and candidates pass the gates, whose verdicts would otherwise include measured
times. Nobody watches what serves: a rollback depends on which version decided a request.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chaos.loop.final import differences
from chaos.loop.history import draw_history
from chaos.loop.killer import Pace
from chaos.loop.kills import draw_kills
from chaos.loop.run import Found, LoopRun
from models.settings import Settings
from models.settings.gates import GateLimits
from stream.brokers.embedded import EmbeddedBroker
from stream.brokers.kafka_cluster import KafkaCluster

PARTITIONS: Final = 4
SESSION_S: Final = 6.0
NEVER: Final = 1e9
HOUR_MS: Final = 3_600_000
#: Nothing but a missing class or a wrong export is refused.
LENIENT: Final = GateLimits(
    better=-9,
    log_loss=9,
    auc_pr=9,
    calibration=9,
    reward=9,
    teacher_score=-1,
    teacher_uncertainty=-1,
    slowdown=99,
    min_positives=1,
    patience=0,
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Parameters of the two runs.

    Attributes:
        seed: Seed of history and kills.
        kills: Number of kill -9.
        rounds: Number of rebuilds.
        requests: Requests from one rebuild to the next.
        workers: Number of intercept workers.
        stream_s: Seconds over which the requests of a round are published.
        guarantee: ``worker.guarantee``; the embedded broker has at-least-once only.
    """

    seed: int = 1
    kills: int = 50
    rounds: int = 5
    requests: int = 2_000
    workers: int = 2
    stream_s: float = 40.0
    guarantee: str = "at-least-once"


@dataclass(frozen=True, slots=True)
class Compared:
    """Both runs and what differs.

    Attributes:
        undisturbed: The run without kills.
        disturbed: The run with kills.
        differences: A line per part of store and registry that differs.
    """

    undisturbed: Found
    disturbed: Found
    differences: list[str]


def settings_of(
    scenario: Scenario, broker: EmbeddedBroker | KafkaCluster, folder: Path
) -> Settings:
    """Settings of all processes of one run."""
    client = broker.client.model_dump(exclude_unset=True)
    values: dict[str, Any] = {
        **{f"kafka.{key}": value for key, value in client.items()},
        "kafka.partitions": PARTITIONS,
        "kafka.session_timeout_s": SESSION_S,
        "worker.guarantee": scenario.guarantee,
        "worker.expected": scenario.workers,
        "policy.rate": 0.0,
        "model.registry": str(folder / "registry"),
        "trainer.store": str(folder / "store"),
        "trainer.quick": True,
        "trainer.start": "warm",
        "trainer.schedule": "",
        "trainer.rebuild_examples": scenario.requests // 2,
        "trainer.retention_days": 3_660.0,
        "trainer.poll_s": 0.2,
        "trainer.drift_alarm": NEVER,
        "trainer.quality_period_s": NEVER,
        "trainer.watch_rows": 0,
        "trainer.gates": LENIENT.model_dump(),
    }
    return Settings().override(values)


def compare(
    scenario: Scenario,
    folder: Path,
    brokers: Callable[[Path], EmbeddedBroker | KafkaCluster],
    report: Callable[[str], None],
) -> Compared:
    """Play the history without kills, then with them, each on brokers and folders of its own.

    Args:
        scenario: The parameters.
        folder: Folder of logs, stores and registries.
        brokers: Makes brokers in a folder.
        report: Called with a line of text about the progress.
    """
    now_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS
    history = draw_history(scenario.seed, scenario.rounds, scenario.requests, now_ms)
    kills = draw_kills(scenario.seed, scenario.kills, scenario.rounds)
    pace, found = Pace(scenario.stream_s), []
    for name, wanted in (("undisturbed", []), ("disturbed", kills)):
        report(f"{name}: {len(history)} rebuilds, {len(wanted)} kills")
        with brokers(folder / name) as broker:
            settings = settings_of(scenario, broker, folder / name)
            logs = folder / name / "logs"
            run = LoopRun(settings, logs, scenario.workers, history, wanted, pace, report)
            found.append(asyncio.run(run.play()))
        pace = Pace(scenario.stream_s, found[0].rebuild_s)
    return Compared(found[0], found[1], differences(found[0].state, found[1].state))
