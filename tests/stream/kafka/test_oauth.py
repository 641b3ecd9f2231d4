"""Tokens for SASL OAUTHBEARER."""

import asyncio
import sys

import pytest

from models.settings import KafkaSettings, SettingsError
from stream.kafka.oauth import Authenticator, TokenError, token_provider


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
        ("raise SystemExit(3)", "ended with status 3"),
        ("print()", "is not a token"),
        ('print("two words")', "is not a token"),
        ('print("x" * 100_000)', "is not a token"),
        ("import time; time.sleep(60)", "no token within 0.5 s"),
    ],
)
async def test_a_command_that_gives_no_token(
    monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    """An error that names the setting, and quotes nothing that was printed."""
    monkeypatch.setattr("stream.kafka.oauth.TOKEN_S", 0.5 if "sleep" in code else 60.0)
    with pytest.raises(TokenError) as error:
        await token_provider(command(code)).token()
    assert told in str(error.value)
    assert "kafka.oauth_token_command" in str(error.value)
    assert "two words" not in str(error.value)


async def test_a_program_that_is_not_there() -> None:
    """It is an error of the token, not a fault of the program."""
    with pytest.raises(TokenError, match="FileNotFoundError"):
        await token_provider(oauth(oauth_token_command="/nowhere/token")).token()


async def test_one_token_serves_connections_that_open_together() -> None:
    """The command is run once for all of them, and again after a while."""
    now = 0.0
    provider = token_provider(command("import os; print(os.getpid())"))
    provider._clock = lambda: now
    first = await asyncio.gather(*(provider.token() for _ in range(5)))
    assert len(set(first)) == 1
    now = 60.0
    assert await provider.token() != first[0]


async def test_a_refused_token_is_a_failed_login() -> None:
    """The client acknowledges the reason, upon which the broker fails the login."""
    provider = token_provider(oauth(oauth_token_provider="secrets:token_urlsafe"))
    authenticator = Authenticator(sasl_oauth_token_provider=provider)
    assert (await authenticator.step(None))[0].startswith(b"n,,\x01auth=Bearer ")
    assert await authenticator.step(b'{"status":"invalid_token"}') == (b"\x01", True)
    assert await authenticator.step(b"") is None


async def test_a_function_gives_a_token() -> None:
    """A function may be a coroutine function or not."""
    provider = token_provider(oauth(oauth_token_provider="secrets:token_urlsafe"))
    assert len(await provider.token()) > 20
