"""Faults of connections to Apache Kafka are one sentence, and no output shows a secret."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from models.settings import KafkaSettings, Settings
from stream.brokers.certificates import Authority
from stream.brokers.children import ChildProcess, free_port
from stream.brokers.kafka_cluster import KafkaCluster
from stream.brokers.security import unsigned_token
from stream.kafka.connection import ConnectionFaultError, reach
from stream.kafka.topics import ensure_topics
from tests.stream.cli.process import COMMANDS, one_sentence, output_of, weir
from tests.stream.intercept.test_worker import publish, until

pytestmark = pytest.mark.kafka

ENDS_S = 90.0
CLUSTERS = {
    "scram": {"security": "sasl-tls", "users": ["app"]},
    "plain": {"security": "sasl", "mechanism": "PLAIN"},
    "oauth": {"security": "sasl", "mechanism": "OAUTHBEARER"},
    "mtls": {"security": "mtls"},
}


class Clusters:
    """Clusters by their security, each started when a test first needs it."""

    def __init__(self, stack: ExitStack, jars: Path, folder: Path) -> None:
        self._stack, self._jars, self._folder = stack, jars, folder
        self._running: dict[str, KafkaCluster] = {}

    def __getitem__(self, name: str) -> KafkaCluster:
        if name not in self._running:
            cluster = KafkaCluster(self._folder / name, **CLUSTERS[name], jars=self._jars)
            self._running[name] = self._stack.enter_context(cluster)
        return self._running[name]


@pytest.fixture(scope="module")
def clusters(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    with ExitStack() as stack:
        yield Clusters(stack, kafka_jars, tmp_path_factory.mktemp("clusters"))


def client(cluster: KafkaCluster, **changes: Any) -> KafkaSettings:
    """Settings of the user `weir`, but for some."""
    return KafkaSettings(**{**cluster.client.revealed(), **changes})


async def fault(kafka: KafkaSettings) -> str:
    with pytest.raises(ConnectionFaultError) as error:
        await reach(kafka)
    assert not error.value.transient
    message = str(error.value)
    assert message.startswith(f"{kafka.bootstrap}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("where", "changes", "expected"),
    [
        ("scram", {"sasl_password": "guessed"}, "User:weir may not log in with SCRAM-SHA-512"),
        ("scram", {"sasl_username": "nobody"}, "User:nobody may not log in with SCRAM-SHA-512"),
        ("scram", {"sasl_mechanism": "PLAIN"}, "the broker does not offer PLAIN"),
        (
            "scram",
            {"security_protocol": "SASL_PLAINTEXT"},
            "the server expects TLS; should kafka.security_protocol be SASL_SSL?",
        ),
        (
            "scram",
            {"security_protocol": "PLAINTEXT"},
            "the server expects TLS; should kafka.security_protocol be SSL?",
        ),
        ("scram", {"ssl_cafile": ""}, "is not signed by the system's certificate authorities"),
        ("plain", {"sasl_password": "guessed"}, "User:weir may not log in with PLAIN"),
        (
            "plain",
            {"security_protocol": "SASL_SSL"},
            "the server does not use TLS; should kafka.security_protocol be SASL_PLAINTEXT?",
        ),
        ("mtls", {"ssl_certfile": "", "ssl_keyfile": ""}, "requires a client certificate"),
        (
            "mtls",
            {"security_protocol": "SASL_SSL", "sasl_username": "weir"},
            "does not use SASL; kafka.security_protocol should be SSL",
        ),
    ],
)
async def test_what_the_brokers_reject_is_named(
    clusters: Clusters, where: str, changes: dict[str, str], expected: str
) -> None:
    """With the setting to correct; the fault is not transient."""
    assert expected in await fault(client(clusters[where], **changes))


async def test_a_missing_login_is_named(clusters: Clusters) -> None:
    """The broker closes the connection at the first request, without a reason."""
    for where, protocol in (("scram", "SSL"), ("plain", "PLAINTEXT")):
        with pytest.raises(
            ConnectionFaultError, match=f"closed the {protocol} connection; does it require a lo"
        ):
            await reach(client(clusters[where], security_protocol=protocol))


@pytest.mark.parametrize("why", ["expired", "another authority"])
async def test_a_client_certificate_that_is_rejected_is_named(
    clusters: Clusters, why: str, tmp_path: Path
) -> None:
    """The broker's alert comes after the handshake, in place of an answer."""
    cluster = clusters["mtls"]
    authority = cluster.authority if why == "expired" else Authority(tmp_path)
    assert authority is not None
    certificate, key = authority.sign(why.replace(" ", "-"), days=-1 if why == "expired" else 1)
    wrong = client(cluster, ssl_certfile=str(certificate), ssl_keyfile=str(key))
    assert f"rejects kafka.ssl_certfile '{certificate}'" in await fault(wrong)


async def test_a_token_that_is_rejected_is_named(clusters: Clusters) -> None:
    """An expired one, and a command that fails."""
    now = int(time.time())
    old = unsigned_token("weir", now - 7200, now - 3600)
    cluster = clusters["oauth"]
    message = await fault(client(cluster, oauth_token_command=f"echo {old}"))
    assert "the subject of the token may not log in with OAUTHBEARER" in message
    assert old not in message
    message = await fault(client(cluster, oauth_token_command="false"))
    assert "kafka.oauth_token_command: false ended with status 1" in message


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_password_is_one_sentence_for_every_command(
    clusters: Clusters, command: str, tmp_path: Path
) -> None:
    """Never "no broker answers", never a traceback, never the password."""
    wrong = client(clusters["scram"], sasl_password="hunter2hunter2")
    environment = Settings(kafka=wrong).environment()
    printed = output_of(weir(tmp_path, *COMMANDS[command], environment=environment))
    # The trainer logs its plan before it connects.
    output = one_sentence(
        "".join(line for line in printed.splitlines(True) if " INFO " not in line)
    )
    assert "User:weir may not log in with SCRAM-SHA-512" in output
    assert "kafka.sasl_password" in output
    assert "hunter2hunter2" not in output


@pytest.mark.parametrize("where", ["plain", "scram", "oauth"])
async def test_secrets_are_in_no_output_of_a_verbose_worker(
    clusters: Clusters, where: str, tmp_path: Path
) -> None:
    """Kafka's client logs all its requests at DEBUG, authentication included."""
    port = free_port()
    settings = Settings(kafka=clusters[where].client, worker={"metrics_port": port})
    await ensure_topics(settings.kafka, settings.topics)
    child = ChildProcess("worker", ["-v", "worker"], tmp_path / "log", settings.environment())
    async with child:
        await until(child, port, lambda sample: sample.model != "")
        await child.stop()
    log = child.log.read_text()
    assert "SaslAuthenticateRequest" in log
    if where == "oauth":
        assert not re.search(r"eyJ[\w-]+\.[\w-]+\.", log)  # the beginning of any token
    else:
        assert settings.secrets[0]
        assert settings.secrets[0] not in log
    assert not re.search(r"[nrcp]=[\w+/=-]{20}", log)  # nonces, proofs and signatures of SCRAM
    assert all(len(line.encode()) <= 4096 for line in log.splitlines())


async def test_a_password_that_is_no_longer_valid_ends_a_worker(
    clusters: Clusters, tmp_path: Path
) -> None:
    """It waits for a broker that is down, but ends when the login fails."""
    cluster, port = clusters["scram"], free_port()
    settings = Settings(
        kafka={**cluster.client_as("app").revealed(), "session_timeout_s": 6.0},
        worker={"metrics_port": port},
    )
    await ensure_topics(settings.kafka, settings.topics)
    child = ChildProcess("worker", ["worker"], tmp_path / "log", settings.environment())
    async with child:
        await until(child, port, lambda sample: sample.model != "")
        _change_password(cluster, "app", b"rotated")
        cluster.terminate(1)
        await asyncio.sleep(2)
        assert child.returncode is None
        cluster.start_node(1)
        assert await asyncio.wait_for(child.wait(), ENDS_S) == 2
    log = child.log.read_text()
    assert "Traceback" not in log
    assert any(
        line.startswith("weir: ") and "User:app may not log in with SCRAM-SHA-512" in line
        for line in log.splitlines()[-5:]
    ), log[-3000:]


async def test_brokers_that_are_down_are_waited_for(clusters: Clusters, tmp_path: Path) -> None:
    """The worker logs now and then why it waits, and goes on when they are back."""
    cluster, port = clusters["plain"], free_port()
    settings = Settings(
        kafka={**cluster.client.revealed(), "session_timeout_s": 6.0, "group": "patient"},
        worker={"metrics_port": port},
    )
    await ensure_topics(settings.kafka, settings.topics)
    child = ChildProcess("worker", ["worker"], tmp_path / "log", settings.environment())
    async with child:
        await publish(settings, 0, 40)
        await until(child, port, lambda sample: sample.requests >= 40)
        cluster.terminate(1)
        deadline = time.monotonic() + ENDS_S
        while "the group has had no coordinator for 15 s" not in (log := child.log.read_text()):
            assert child.returncode is None, log
            assert time.monotonic() < deadline, log
            await asyncio.sleep(0.5)
        assert "no broker answers (connection refused)" in log
        await asyncio.to_thread(cluster.start_node, 1)
        await publish(settings, 40, 40)
        await until(child, port, lambda sample: sample.requests >= 80)


def _change_password(cluster: KafkaCluster, user: str, password: bytes) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    admin = AdminClient({"bootstrap.servers": cluster.internal})
    change = UserScramCredentialUpsertion(user, info, password)
    for done in admin.alter_user_scram_credentials([change]).values():
        done.result(30)
