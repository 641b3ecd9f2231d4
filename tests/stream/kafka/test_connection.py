"""Why there is no connection: one sentence each, that names the setting to mend.

What a broker itself refuses (logins, client certificates) is in tests/kafka.
"""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from models.settings import KafkaSettings, SettingsError
from stream.brokers.certificates import Authority
from stream.brokers.children import free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka import connection
from stream.kafka.client import client_options
from stream.kafka.connection import ConnectionFaultError, reach, try_server
from stream.kafka.oauth import Authenticator, TokenError, token_provider

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


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
    """The address, what is wrong, and what to check; it may go away by itself."""
    found = await fault(KafkaSettings(bootstrap=f"127.0.0.1:{(port := free_port())}"))
    assert str(found).startswith(f"127.0.0.1:{port}: no broker answers (connection refused)")
    assert "kafka.bootstrap" in str(found)
    assert found.passing


async def test_no_such_host() -> None:
    """A name that no resolver knows (RFC 2606)."""
    found = await fault(KafkaSettings(bootstrap="broker.invalid:9092"))
    assert "broker.invalid:9092: no such host" in str(found)


async def test_one_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after a while."""
    monkeypatch.setattr(connection, "CONNECT_S", 0.3)
    async with server(silent=True) as address:
        assert "no broker answers within 0.3 s" in str(
            await fault(KafkaSettings(bootstrap=address))
        )


async def test_something_that_hangs_up() -> None:
    """No Kafka broker, or one that wants another protocol."""
    async with server() as address:
        assert "hung up on PLAINTEXT" in str(await fault(KafkaSettings(bootstrap=address)))


async def test_plain_text_against_tls(authority: Authority) -> None:
    """The broker's alert is recognized in what looks like the length of an answer."""
    async with server(tls(authority, "plain-to-tls")) as address:
        found = await fault(KafkaSettings(bootstrap=address))
    assert "TLS is spoken there; should kafka.security_protocol be SSL?" in str(found)
    assert not found.passing


async def test_tls_against_plain_text() -> None:
    """Whoever hangs up on the handshake speaks no TLS."""
    async with server() as address:
        found = await fault(KafkaSettings(bootstrap=address, security_protocol="SSL"))
    assert "no TLS is spoken there; should kafka.security_protocol be PLAINTEXT?" in str(found)
    assert not found.passing


async def test_an_expired_certificate(authority: Authority) -> None:
    """Of the broker: only its owner can mend that."""
    async with server(tls(authority, "expired", days=-1)) as address:
        kafka = KafkaSettings(
            bootstrap=address, security_protocol="SSL", ssl_cafile=str(authority.certificate)
        )
        found = await fault(kafka)
    assert "the broker's certificate has expired" in str(found)
    assert not found.passing


async def test_a_certificate_for_another_address(authority: Authority) -> None:
    """It is good for 127.0.0.1, and shown on 127.0.0.2."""
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
        for cafile, told in ((another, another), ("", "the system's authorities")):
            kafka = KafkaSettings(bootstrap=address, security_protocol="SSL", ssl_cafile=cafile)
            found = await fault(kafka)
            assert f"is not signed by {told}; check kafka.ssl_cafile" in str(found)


@pytest.mark.broker
async def test_the_fault_that_waiting_does_not_mend_comes_first(
    broker: EmbeddedBroker, authority: Authority
) -> None:
    """Of several servers one that can be used is enough; else the reason to act upon is told."""
    dead = f"127.0.0.1:{free_port()}"
    found = await reach(KafkaSettings(bootstrap=f"{dead},{broker.bootstrap}"))
    assert found.address == broker.bootstrap
    assert found.nodes
    async with server(tls(authority, "second")) as address:
        assert "TLS is spoken" in str(await fault(KafkaSettings(bootstrap=f"{dead},{address}")))
        with pytest.raises(ConnectionFaultError, match="connection refused"):
            await try_server(KafkaSettings(bootstrap=address), dead)


@pytest.mark.broker
async def test_a_server_that_never_answers_does_not_hold_up_another(
    broker: EmbeddedBroker,
) -> None:
    """The first that can be used is used."""
    async with server(silent=True) as address:
        async with asyncio.timeout(connection.CONNECT_S / 2):
            found = await reach(KafkaSettings(bootstrap=f"{address},{broker.bootstrap}"))
    assert found.address == broker.bootstrap


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ssl_certfile": "absent.pem"}, "'absent.pem'"),
        ({"ssl_keyfile": "absent.key"}, "needs kafka.ssl_certfile"),
        ({"ssl_cafile": "absent.pem"}, "kafka.ssl_cafile: 'absent.pem'"),
    ],
)
def test_files_of_tls_are_named(given: dict[str, str], told: str) -> None:
    """Before anything connects."""
    with pytest.raises(SettingsError) as error:
        client_options(KafkaSettings(security_protocol="SSL", **given))
    assert told in str(error.value)


def test_a_key_with_a_password(authority: Authority) -> None:
    """It opens with the password; without, nobody is asked at the terminal."""
    certificate, key = authority.sign("locked", password="opensesame")
    _, other = authority.sign("other")
    kafka = KafkaSettings(
        security_protocol="SSL",
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        ssl_key_password="opensesame",
    )
    assert isinstance(client_options(kafka)["ssl_context"], ssl.SSLContext)
    for wrong in (
        {"ssl_key_password": ""},
        {"ssl_key_password": "guessed"},
        {"ssl_keyfile": str(other)},
        {"ssl_certfile": str(key)},
    ):
        with pytest.raises(SettingsError, match=r"kafka\.ssl_certfile, kafka\.ssl_keyfile"):
            client_options(KafkaSettings(**{**kafka.model_dump(), **wrong}))


def oauth(**how: str) -> KafkaSettings:
    return KafkaSettings(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", **how)


def command(code: str) -> KafkaSettings:
    return oauth(oauth_token_command=f"{sys.executable} -c '{code}'")


@pytest.mark.parametrize(
    ("kafka", "told"),
    [
        (oauth(), "needs kafka.oauth_token_command"),
        (oauth(oauth_token_command="x", oauth_token_provider="a:b"), "not both"),
        (oauth(oauth_token_command="'"), "kafka.oauth_token_command"),
        (oauth(oauth_token_provider="nowhere:token"), "'nowhere:token' cannot be imported"),
        (oauth(oauth_token_provider="json:nothing"), "'json:nothing' cannot be imported"),
        (oauth(oauth_token_provider="json"), "'json'"),
    ],
)
def test_where_a_token_comes_from_is_checked(kafka: KafkaSettings, told: str) -> None:
    """Exactly one source, and one that is there."""
    with pytest.raises(SettingsError, match="kafka") as error:
        token_provider(kafka)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise SystemExit(3)", "ended with 3"),
        ("print()", "no token"),
        ('print("two words")', "no token"),
        ('print("x" * 100_000)', "no token"),
        ("import time; time.sleep(60)", "no token within 0.5 s"),
    ],
)
async def test_a_command_that_gives_no_token(
    monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    """An error that names the setting, and nothing that was printed."""
    monkeypatch.setattr("stream.kafka.oauth.TOKEN_S", 0.5 if "sleep" in code else 60.0)
    with pytest.raises(TokenError) as error:
        await token_provider(command(code)).token()
    assert told in str(error.value)
    assert "kafka.oauth_token_command" in str(error.value)
    assert "two words" not in str(error.value)


async def test_a_program_that_is_not_there() -> None:
    """It is an error of the token, not of whoever connects."""
    with pytest.raises(TokenError, match="FileNotFoundError"):
        await token_provider(oauth(oauth_token_command="/nowhere/token")).token()


async def test_one_token_serves_connections_that_open_together() -> None:
    """A command is not run for each; after a while it is asked again."""
    now = 0.0
    provider = token_provider(command("import os; print(os.getpid())"))
    provider._clock = lambda: now
    first = await asyncio.gather(*(provider.token() for _ in range(5)))
    assert len(set(first)) == 1
    now = 60.0
    assert await provider.token() != first[0]


async def test_a_refused_token_is_a_failed_login() -> None:
    """Its reason is acknowledged, upon which it fails the login; no answer is a success."""
    provider = token_provider(oauth(oauth_token_provider="secrets:token_urlsafe"))
    authenticator = Authenticator(sasl_oauth_token_provider=provider)
    assert (await authenticator.step(None))[0].startswith(b"n,,\x01auth=Bearer ")
    assert await authenticator.step(b'{"status":"invalid_token"}') == (b"\x01", True)
    assert await authenticator.step(b"") is None


async def test_a_function_gives_a_token() -> None:
    """Awaited or not."""
    provider = token_provider(oauth(oauth_token_provider="secrets:token_urlsafe"))
    assert len(await provider.token()) > 20
