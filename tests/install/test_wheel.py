"""A wheel is all that is needed, and another project's packages of the same names do no harm."""

import asyncio
import json
import time
import zipfile
from pathlib import Path

import polars as pl
import pytest
from aiokafka import AIOKafkaProducer

from models.tasks import DEFAULT_TASKS
from stream.messages import Decision, Outcome, Reason, TrainingExample
from tests.installed import ROOT, Installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DATA = (".toml", ".json", ".onnx", ".html", ".pyi", ".xml", ".properties", "py.typed")


def test_the_wheel_has_all_data_and_nothing_else(installed: Installed) -> None:
    """Specs, shipped artifacts, Kafka's pom and the py.typed markers are in; tests are not."""
    with zipfile.ZipFile(installed.wheel) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    roots = ("weir", "stream", "models", "trainer")
    assert {name.split("/")[0] for name in inside} == set(roots)
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for root in roots
        for path in (ROOT / root).rglob("*")
        if path.name.endswith(DATA)
    }
    assert {name for name in inside if name.endswith(DATA)} == on_disk
    assert {f"{root}/py.typed" for root in roots} <= on_disk


def test_its_packages_are_its_own(installed: Installed) -> None:
    """The packages lie in the fresh environment, and `weir` says the version of the wheel."""
    code = (
        "import models, stream, trainer, weir\n"
        "print(models.__file__, stream.__file__, trainer.__file__, weir.__file__, weir.__version__)"
    )
    done = installed.run(installed.python, "-P", "-c", code)
    assert done.returncode == 0, done.stderr
    *files, version = done.stdout.split()
    assert {Path(file).parents[1] for file in files} == {installed.packages}
    assert installed.output("--version") == f"weir {version}\n"
    assert installed.wheel.name.startswith(f"weir-{version}-")


def test_a_package_that_hides_weirs_is_named(installed: Installed) -> None:
    """Python itself prefers the working directory: then the error says what to do."""
    done = installed.run(installed.python, "-c", "import weir")
    assert done.returncode == 1
    assert f"hidden by {installed.folder / 'models'}" in done.stderr
    assert "run Python with -P" in done.stderr


@pytest.mark.broker
def test_the_demo_runs(installed: Installed) -> None:
    """Broker, workers, feedback and publisher are children that must find their own packages."""
    found = json.loads(installed.output("demo", "--requests", "10000", "--pace", "2500"))
    assert found["ok"], found
    assert found["requests"] == 10_000


@pytest.mark.broker
def test_it_trains_and_its_trainer_rebuilds(installed: Installed) -> None:
    """An artifact is trained; the trainer's child learns anew from examples on the bus."""
    settings = (
        "--set=model.artifact=artifact", "--set=model.registry=registry",
        "--set=trainer.store=store", "--set=trainer.rebuild_examples=1000",
        "--set=trainer.quick=true", "--set=training.teacher.min_steps=60",
        "--set=training.distillation.min_steps=60", "--set=kafka.partitions=1",
        "--set=feedback.time_scale=1000000", "--set=feedback.lateness_s=1",
    )  # fmt: skip
    installed.output("simulate", "--requests", "1000", "--examples", "sim.parquet")
    installed.output(
        *settings, "train", "--examples", "sim.parquet", "--quick", "--out", "artifact"
    )
    with installed.running("broker", "--port", "0") as broker:
        address = broker.until(r"on (127\.0\.0\.1:\d+)")[1]
        assert "training-examples" in installed.output("--bootstrap", address, *settings, "topics")
        asyncio.run(_publish(installed.folder / "sim.parquet", address))
        with installed.running("--bootstrap", address, *settings, "trainer") as trainer:
            assert trainer.until(r"rebuild .*: (published|held|refused|failed)")[1] != "failed"
    (log,) = installed.folder.glob("store/rebuilds/*/log.txt")
    assert "learning from" in log.read_text()


async def _publish(examples: Path, address: str) -> None:
    """Examples of this minute, as the feedback worker would write them, and their outcomes."""
    rows = pl.read_parquet(examples).sort("ts")
    late_ms = int(time.time() * 1000) - 60_000 - rows["ts"].max()
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        for row in rows.iter_rows(named=True):
            name, ts = row["request_id"], row["ts"] + late_ms
            decision = Decision("m0", 0.5, 0.4, Reason.SCORE, 1.0, 0)
            example = TrainingExample(name, ts, row["spec"], row["features"], decision)
            await producer.send("training-examples", example.to_bytes(), partition=0)
            for task in DEFAULT_TASKS.names:
                if row[f"label_{task}"] == 1:
                    value = Outcome(name, task, ts + 1).to_bytes()
                    await producer.send("outcomes", value, partition=0)
