"""`make hostile`: every topic full of hostile records, on both brokers and with both guarantees.

    python -m chaos.hostile --records 20000

Writes `var/hostile/NAME.json` per run, and ends with status 1 if anything did not hold.
"""

import argparse
import asyncio
import dataclasses
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from chaos.hostile.report import Report
from chaos.hostile.run import Attack
from chaos.hostile.strategies import draw_hostile
from chaos.hostile.values import Record
from models.settings import Settings, TopicSettings
from stream.brokers.embedded import EmbeddedBroker
from stream.brokers.kafka_cluster import KafkaCluster
from trainer.simulation.simulator import Simulator

VAR = Path("var/hostile")
ROLES = {
    "worker-1": ["worker"],
    "worker-2": ["worker"],
    "feedback": ["worker", "--role", "feedback"],
    "trainer": ["trainer"],
}
PARTITIONS = 2
RUNS = (
    ("embedded", "at-least-once"),
    ("kafka", "at-least-once"),
    ("kafka", "exactly-once"),
)


def sound_requests(count: int, seed: int) -> list[bytes]:
    """Simulated bid requests, with the timestamp of the attack."""
    return list(Simulator(seed).batch(0, count).values)


def attack_settings(broker: EmbeddedBroker | KafkaCluster, folder: Path, **more: Any) -> Settings:
    """Settings of an attack: few partitions, everything in one folder."""
    client = broker.client.model_dump(exclude_unset=True)
    return Settings().override(
        {
            **{f"kafka.{key}": value for key, value in client.items()},
            "kafka.partitions": PARTITIONS,
            "kafka.session_timeout_s": 6.0,
            "policy.rate": 0.5,
            "model.registry": str(folder / "registry"),
            "trainer.store": str(folder / "store"),
            "trainer.rebuild_examples": 10_000_000,
            **more,
        }
    )


@contextmanager
def running(kind: str, folder: Path, jars: Path) -> Iterator[EmbeddedBroker | KafkaCluster]:
    """Run a broker: the embedded one, or Apache Kafka."""
    if kind == "embedded":
        with EmbeddedBroker(folder / "broker.log") as broker:
            yield broker
    else:
        with KafkaCluster(folder / "kafka", jars=jars) as cluster:
            yield cluster


def play(
    kind: str,
    guarantee: str,
    sound: list[bytes],
    hostile: dict[str, list[Record]],
    options: argparse.Namespace,
) -> Report:
    """Run an attack on one broker with one guarantee."""
    folder = VAR / f"{kind}-{guarantee}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with running(kind, folder, options.jars) as broker:
        settings = attack_settings(broker, folder, **{"worker.guarantee": guarantee})
        attack = Attack(
            settings,
            Path("models/artifact/pretrained/openrtb"),
            sound,
            hostile,
            options.seed,
            folder,
            ROLES,
        )
        return asyncio.run(attack.play())


def as_json(report: Report) -> bytes:
    """The report as JSON, with the account as text."""
    fields = {each.name: getattr(report, each.name) for each in dataclasses.fields(report)}
    fields["account"] = str(report.account)
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2)


def main() -> None:
    """Run the attacks that the command line selects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000, help="Hostile records per topic.")
    parser.add_argument("--good", type=int, default=20_000, help="Number of good requests.")
    parser.add_argument("--seed", type=int, default=1, help="Seed of the hostile records.")
    parser.add_argument("--only", help="Select runs with this text in their name.")
    parser.add_argument(
        "--jars", type=Path, default=Path("var/kafka/jars"), help="Folder of Kafka's jars."
    )
    options = parser.parse_args()
    failed = False
    begun = time.monotonic()
    sound = sound_requests(options.good, options.seed)
    hostile = draw_hostile(TopicSettings(), sound, options.records, options.seed)
    print(f"hostile records drawn in {time.monotonic() - begun:.0f} s", flush=True)
    for kind, guarantee in RUNS:
        name = f"{kind}-{guarantee}"
        if options.only and options.only not in name:
            continue
        begun = time.monotonic()
        report = play(kind, guarantee, sound, hostile, options)
        (VAR / f"{name}.json").write_bytes(as_json(report))
        print(f"{name}: {time.monotonic() - begun:.0f} s, peak {report.peak_mb} MiB")
        print(f"  written {dict(report.written)}")
        print(f"  refused {dict(report.refused)}, dead letters {dict(report.rejects)}")
        for fault in report.faults:
            print(f"  FAULT {fault}", flush=True)
        failed |= bool(report.faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
