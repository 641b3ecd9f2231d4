"""Why there is no connection: one sentence each, which names the setting to correct.

What only Apache Kafka rejects (logins, client certificates) is in tests/kafka.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from models.settings import KafkaSettings
from stream.brokers.certificates import Authority
from stream.brokers.children import free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka import connection
from stream.kafka.connection import ConnectionFaultError, reach, try_server


@asynccontextmanager
async def server(
    context: ssl.SSLContext | None = None, *, silent: bool = False, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """Something that listens and is no Kafka broker; its address."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if silent:
            await reader.read()
        writer.close()

    listener = await asyncio.start_server(talk, host, 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield f"{host}:{port}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def tls(authority: Authority, name: str, days: int = 30) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign(name, days=days))
    return context


async def fault(kafka: KafkaSettings) -> ConnectionFaultError:
    with pytest.raises(ConnectionFaultError) as error:
        await reach(kafka)
    assert str(error.value).count("\n") == 0
    return error.value


async def test_nobody_listens() -> None:
    """The address, the error, and what to check; it is transient."""
    found = await fault(KafkaSettings(bootstrap=f"127.0.0.1:{(port := free_port())}"))
    assert str(found).startswith(f"127.0.0.1:{port}: no broker answers (connection refused)")
    assert "kafka.bootstrap" in str(found)
    assert found.transient


async def test_no_such_host() -> None:
    """A name that no resolver knows (RFC 2606)."""
    found = await fault(KafkaSettings(bootstrap="broker.invalid:9092"))
    assert "broker.invalid:9092: no such host" in str(found)


async def test_one_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt ends after a while."""
    monkeypatch.setattr(connection, "CONNECT_S", 0.3)
    async with server(silent=True) as address:
        assert "no broker answers within 0.3 s" in str(
            await fault(KafkaSettings(bootstrap=address))
        )


async def test_a_server_that_closes_the_connection() -> None:
    """No Kafka broker, or one with another security protocol."""
    async with server() as address:
        assert "the server closed the PLAINTEXT connection" in str(
            await fault(KafkaSettings(bootstrap=address))
        )


async def test_plain_text_against_tls(authority: Authority) -> None:
    """The broker's alert is recognized in what looks like the length of an answer."""
    async with server(tls(authority, "plain-to-tls")) as address:
        found = await fault(KafkaSettings(bootstrap=address))
    assert "the server expects TLS; should kafka.security_protocol be SSL?" in str(found)
    assert not found.transient


async def test_tls_against_plain_text() -> None:
    """A server that closes the connection in the handshake does not use TLS."""
    async with server() as address:
        found = await fault(KafkaSettings(bootstrap=address, security_protocol="SSL"))
    assert "the server does not use TLS; should kafka.security_protocol be PLAINTEXT?" in str(found)
    assert not found.transient


async def test_an_expired_certificate(authority: Authority) -> None:
    """Of the broker: waiting does not help."""
    async with server(tls(authority, "expired", days=-1)) as address:
        kafka = KafkaSettings(
            bootstrap=address, security_protocol="SSL", ssl_cafile=str(authority.certificate)
        )
        found = await fault(kafka)
    assert "the broker's certificate has expired" in str(found)
    assert not found.transient


async def test_a_certificate_for_another_address(authority: Authority) -> None:
    """It is valid for 127.0.0.1 and used on 127.0.0.2."""
    async with server(tls(authority, "elsewhere"), host="127.0.0.2") as address:
        kafka = KafkaSettings(
            bootstrap=address, security_protocol="SSL", ssl_cafile=str(authority.certificate)
        )
        assert "certificate is not for this address; check kafka.bootstrap" in str(
            await fault(kafka)
        )


async def test_an_unknown_authority(authority: Authority, tmp_path: Path) -> None:
    """Neither the system's authorities nor another one signed it."""
    another = str(Authority(tmp_path).certificate)
    async with server(tls(authority, "unknown")) as address:
        for cafile, told in ((another, another), ("", "the system's certificate authorities")):
            kafka = KafkaSettings(bootstrap=address, security_protocol="SSL", ssl_cafile=cafile)
            found = await fault(kafka)
            assert f"is not signed by {told}; check kafka.ssl_cafile" in str(found)


@pytest.mark.broker
async def test_of_several_faults_one_that_is_not_transient_is_raised(
    broker: EmbeddedBroker, authority: Authority
) -> None:
    """One server that can be used is enough; else the fault that needs an action is raised."""
    dead = f"127.0.0.1:{free_port()}"
    found = await reach(KafkaSettings(bootstrap=f"{dead},{broker.bootstrap}"))
    assert found.address == broker.bootstrap
    assert found.nodes
    async with server(tls(authority, "second")) as address:
        assert "the server expects TLS" in str(
            await fault(KafkaSettings(bootstrap=f"{dead},{address}"))
        )
        with pytest.raises(ConnectionFaultError, match="connection refused"):
            await try_server(KafkaSettings(bootstrap=address), dead)


@pytest.mark.broker
async def test_a_server_that_never_answers_does_not_hold_up_another(
    broker: EmbeddedBroker,
) -> None:
    """The first server that answers is used."""
    async with server(silent=True) as address:
        async with asyncio.timeout(connection.CONNECT_S / 2):
            found = await reach(KafkaSettings(bootstrap=f"{address},{broker.bootstrap}"))
    assert found.address == broker.bootstrap
