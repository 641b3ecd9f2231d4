"""Rights: those of the table suffice, and a process without one ends and names it."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.brokers.kafka_cluster import KafkaCluster
from stream.doctor import Level, diagnose
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.kafka.rights import Operation, Right, Role, rights_of
from stream.messages import Decision, Outcome, Reason, TrainingExample
from stream.transport import ChunkSink, Outgoing
from stream.verify.verifier import account
from tests.kafka.security.acls import grant, revoke
from tests.stream.feedback.test_worker import passed
from tests.stream.intercept.test_worker import publish, tiny_settings, until  # noqa: F401
from tests.tiny_artifact import Make

pytestmark = pytest.mark.kafka

USERS = [f"user-{number}" for number in range(40)]
ENDS_S = 60.0
_users = itertools.cycle(USERS)


@pytest.fixture(scope="module")
def broker(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One node with ACLs; shadows the fixture in plain text."""
    folder = tmp_path_factory.mktemp("acls")
    cluster = KafkaCluster(
        folder, security="sasl", mechanism="PLAIN", users=USERS, acls=True, jars=kafka_jars
    )
    with cluster as running:
        yield running


@pytest.fixture
def user() -> str:
    """A user without rights."""
    return next(_users)


def as_user(settings: Settings, broker: KafkaCluster, user: str) -> Settings:
    client = broker.client_as(user)
    return settings.override(
        {
            "kafka.sasl_username": client.sasl_username,
            "kafka.sasl_password": client.sasl_password,
            "worker.metrics_port": free_port(),
        }
    )


@asynccontextmanager
async def process(settings: Settings, folder: Path, *arguments: str) -> AsyncIterator[ChildProcess]:
    child = ChildProcess("process", arguments, folder / "process.log", settings.environment())
    async with child:
        yield child


async def ended(child: ChildProcess) -> str:
    """The last line of its log, once it has ended with a fault."""
    status = await asyncio.wait_for(child.wait(), ENDS_S)
    log = child.log.read_text()
    assert status == 2, log
    assert "Traceback" not in log
    return log.strip().splitlines()[-1]


def without(rights: list[Right], missing: Right) -> list[Right]:
    return [right for right in rights if right != missing]


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
async def test_a_worker_needs_no_more_than_its_table_says(
    broker: KafkaCluster,
    user: str,
    guarantee: str,
    tiny_settings: Settings,  # noqa: F811
    make_artifact: Make,
    tmp_path: Path,
) -> None:
    """With the rights of its role, and no others, it decides all requests and warns of nothing.

    Without the optional rights it logs what is lost.
    """
    settings = tiny_settings.override(
        {
            "model.artifact": str(make_artifact()),
            "worker.guarantee": guarantee,
            "worker.journal": True,
        }
    )
    rights = rights_of(Role.INTERCEPT, settings)
    exactly = guarantee == "exactly-once"
    grant(broker, user, [right for right in rights if exactly or not right.without])
    mine = as_user(settings, broker, user)
    await publish(settings, 0, 400)
    async with process(mine, tmp_path, "worker") as child:
        await until(child, mine.worker.metrics_port, lambda sample: sample.requests == 400)
        await child.stop()
    log = child.log.read_text()
    assert child.returncode == 0, log
    assert ("authoriz" in log.lower()) is not exactly  # lag of feedback's group is not shown
    assert ("no right to DescribeConfigs on topic" in log) is not exactly
    assert (await account(settings)).exact


async def test_feedback_needs_no_more_than_its_table_says(
    broker: KafkaCluster, user: str, settings: Settings, tmp_path: Path
) -> None:
    """It writes an example."""
    grant(broker, user, rights_of(Role.FEEDBACK, settings))
    now = int(time.time() * 1000)
    async with ChunkSink(client_options(settings.kafka)) as sink:
        await sink.send(settings.topics.passed, 0, [passed(1, now)])
    mine = as_user(settings, broker, user)
    async with process(mine, tmp_path, "worker", "--role", "feedback") as child:
        deadline = time.monotonic() + ENDS_S
        while not [r async for r in read_topic(settings.kafka, settings.topics.examples)]:
            assert child.returncode is None, child.log.read_text()
            assert time.monotonic() < deadline, child.log.read_text()
            await asyncio.sleep(0.5)
        await child.stop()
    assert child.returncode == 0
    assert "authoriz" not in child.log.read_text().lower()


async def test_a_trainer_needs_no_more_than_its_table_says(
    broker: KafkaCluster, user: str, settings: Settings, tmp_path: Path
) -> None:
    """It stores an example and an outcome."""
    settings = settings.override({"trainer.store": str(tmp_path / "store")})
    grant(broker, user, rights_of(Role.TRAINER, settings))
    decision = Decision("m1", 0.5, 0.5, Reason.SCORE, 1.0, 1)
    now_ms = int(time.time() * 1000)
    example = TrainingExample("r1", now_ms, "spec", [1], decision).to_bytes()
    outcome = Outcome("r1", "click", now_ms).to_bytes()
    async with ChunkSink(client_options(settings.kafka)) as sink:
        await sink.send(settings.topics.examples, 0, [Outgoing(b"r1", example, now_ms)])
        await sink.send(settings.topics.outcomes, 0, [Outgoing(None, outcome, now_ms)])
    async with process(as_user(settings, broker, user), tmp_path, "trainer") as child:
        deadline = time.monotonic() + ENDS_S
        while len({path.parts[-3] for path in (tmp_path / "store").rglob("*.parquet")}) < 2:
            assert child.returncode is None, child.log.read_text()
            assert time.monotonic() < deadline, child.log.read_text()
            await asyncio.sleep(0.2)
        await child.stop()
    assert child.returncode == 0
    assert "authoriz" not in child.log.read_text().lower()


@pytest.mark.parametrize(
    ("role", "command"),
    [
        (Role.STEER, ["rate", "set", "0.5"]),
        (Role.STEER, ["policy", "get"]),
        (Role.MODELS, ["model", "history"]),
        (Role.READ, ["verify"]),
        (Role.READ, ["replay", "{requests}"]),
    ],
)
async def test_a_command_needs_no_more_than_its_table_says(
    broker: KafkaCluster,
    user: str,
    role: Role,
    command: list[str],
    settings: Settings,
    tmp_path: Path,
) -> None:
    """Without any right it names one that is missing."""
    arguments = [part.format(requests=settings.topics.requests) for part in command]
    if command[0] == "replay":
        arguments += ["--out", str(tmp_path / "replay")]
        await publish(settings, 0, 40)
    mine = as_user(settings, broker, user)
    async with process(mine, tmp_path, *arguments) as child:
        assert "not authorized: " in await ended(child)
    grant(broker, user, rights_of(role, settings))
    async with process(mine, tmp_path, *arguments) as child:
        assert await asyncio.wait_for(child.wait(), ENDS_S) == 0, child.log.read_text()


@pytest.mark.parametrize("index", range(6))
async def test_a_right_that_a_worker_lacks_is_named(
    broker: KafkaCluster,
    user: str,
    index: int,
    tiny_settings: Settings,  # noqa: F811
    tmp_path: Path,
) -> None:
    """It ends at once, with resource, operation, user and the command that grants it."""
    settings = tiny_settings
    topics = settings.topics
    names = ("", topics.requests, topics.models, topics.passed, topics.rate_state, topics.control)
    rights = rights_of(Role.INTERCEPT, settings)
    missing = next(r for r in rights if r.name == (names[index] or settings.kafka.group))
    grant(broker, user, without(rights, missing))
    async with process(as_user(settings, broker, user), tmp_path, "worker") as child:
        last = await ended(child)
    operations = " and ".join(operation.label for operation in missing.operations)
    assert f"not authorized: {operations} on {missing.resource} '{missing.name}'" in last
    assert f"User:{user}" in last
    assert "kafka-acls" in last


@pytest.mark.parametrize("role", [Role.FEEDBACK, Role.TRAINER])
async def test_a_right_that_another_role_lacks_is_named(
    broker: KafkaCluster, user: str, role: Role, settings: Settings, tmp_path: Path
) -> None:
    """Feedback without its group, and the trainer without its examples, end and name it."""
    rights = rights_of(role, settings)
    grant(broker, user, rights[1:])
    command = ["worker", "--role", "feedback"] if role is Role.FEEDBACK else ["trainer"]
    async with process(as_user(settings, broker, user), tmp_path, *command) as child:
        last = await ended(child)
    assert f"Read on {rights[0].resource} '{rights[0].name}'" in last


@pytest.mark.parametrize("revoked", ["group", "requests", "passed", "transactional-id"], ids=str)
async def test_a_right_that_is_revoked_ends_a_worker(
    broker: KafkaCluster,
    user: str,
    revoked: str,
    tiny_settings: Settings,  # noqa: F811
    make_artifact: Make,
    tmp_path: Path,
) -> None:
    """A running worker ends with its next request to the broker, and names the right."""
    guarantee = "exactly-once" if revoked == "transactional-id" else "at-least-once"
    settings = tiny_settings.override(
        {"model.artifact": str(make_artifact()), "worker.guarantee": guarantee}
    )
    rights = rights_of(Role.INTERCEPT, settings)
    topics = settings.topics
    names = {"group": settings.kafka.group, "requests": topics.requests, "passed": topics.passed}
    right = next(r for r in rights if r.name == names.get(revoked) or r.resource == revoked)
    grant(broker, user, rights)
    mine = as_user(settings, broker, user)
    await publish(settings, 0, 400)
    async with process(mine, tmp_path, "worker") as child:
        await until(child, mine.worker.metrics_port, lambda sample: sample.requests == 400)
        revoke(broker, user, right)
        deadline, start = time.monotonic() + ENDS_S, 400
        while child.returncode is None and time.monotonic() < deadline:
            await publish(settings, start, 40)
            start += 40
            await asyncio.sleep(0.5)
        last = await ended(child)
    operation = right.operations[0].label
    assert f"not authorized: {operation} on {right.resource}" in last
    assert settings.kafka.group in last or right.name in last


async def test_the_doctor_names_each_right_that_is_missing(
    broker: KafkaCluster, user: str, settings: Settings
) -> None:
    """Without rights all are listed, with all of them none; an optional right is a warning."""
    exactly = settings.override({"worker.guarantee": "exactly-once"})
    mine = as_user(exactly, broker, user)
    roles = (Role.INTERCEPT, Role.FEEDBACK, Role.TRAINER)
    findings = await diagnose(mine, roles)
    sentences = "\n".join(f.sentence for f in findings if f.level is Level.FAIL)
    rights = [r for role in roles for r in rights_of(role, exactly)]
    for right in rights:
        if not right.without:
            assert f"on {right.resource} '{right.name}'" in sentences
    grant(broker, user, [right for right in rights if not right.without])
    deadline = time.monotonic() + ENDS_S
    while True:  # ACLs reach the brokers one after the other
        findings = await diagnose(mine, roles)
        lacking = [f for f in findings if f.level is Level.FAIL and f.check == "rights"]
        if not lacking:
            break
        assert time.monotonic() < deadline, lacking
        await asyncio.sleep(0.2)
    assert [f for f in findings if f.level is Level.WARN and "DescribeConfigs" in f.sentence]


async def test_topics_are_created_with_the_rights_of_the_table(
    broker: KafkaCluster, user: str, settings: Settings, tmp_path: Path
) -> None:
    """`weir topics` needs Create and Describe, and names a topic that it may not create."""
    fresh = settings.override({"topics.passed": f"{settings.topics.passed}-new"})
    rights = rights_of(Role.TOPICS, fresh)
    mine = as_user(fresh, broker, user)
    grant(broker, user, [replace(r, operations=(Operation.DESCRIBE,)) for r in rights])
    async with process(mine, tmp_path, "topics") as child:
        last = await ended(child)
    assert fresh.topics.passed in last
    grant(broker, user, rights)
    async with process(mine, tmp_path, "topics") as child:
        assert await asyncio.wait_for(child.wait(), ENDS_S) == 0, child.log.read_text()
