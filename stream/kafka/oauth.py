"""Tokens for SASL OAUTHBEARER: printed by a command, or returned by a function of a module."""

import asyncio
import importlib
import inspect
import shlex
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import OAuthAuthenticator
from aiokafka.errors import KafkaError

from models.errors import UserError
from models.process import logs
from models.settings import KafkaSettings, SettingsError

#: Limit for the command or the function.
TOKEN_S: Final = 30.0
#: How long a token is reused: each connection needs one, and a worker opens dozens at once.
KEEP_S: Final = 10.0
#: Kafka limits an authentication request to half a megabyte by default; tokens are far smaller.
MAX_TOKEN_BYTES: Final = 65_536


class Authenticator(OAuthAuthenticator):  # type: ignore[misc]
    """Fails the login when the broker refuses the token.

    A broker answers a token that it refuses with the reason, and fails the login when the client
    has acknowledged that (RFC 7628, 3.2.3). aiokafka takes any answer for a success, and its next
    request finds the connection closed. `stream.kafka.connection` uses this to say why.
    """

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """The next message of the login and whether an answer follows; None when it is done."""
        if self._token_sent and payload:
            return b"\x01", True
        sent: tuple[bytes, bool] | None = await super().step(payload)
        return sent


class TokenError(UserError, KafkaError):  # type: ignore[misc]
    """There is no token. Kafka's clients treat it as any failure to connect."""

    def __str__(self) -> str:
        return str(self.args[0])


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Gets a token from ``source``, at most every :data:`KEEP_S` seconds.

    Args:
        name: The setting that names the source, for messages.
        source: Returns a token.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        name: str,
        source: Callable[[], Awaitable[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._source = source
        self._clock = clock
        self._token = ""
        self._until = float("-inf")
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """A token; it is masked in all logs.

        Raises:
            TokenError: If the source fails, or takes longer than :data:`TOKEN_S`.
        """
        async with self._lock:
            if self._clock() >= self._until:
                self._token = await self._fetch()
                self._until = self._clock() + KEEP_S
            return self._token

    async def _fetch(self) -> str:
        try:
            async with asyncio.timeout(TOKEN_S):
                token = (await self._source()).strip()
        except TimeoutError as error:
            raise TokenError(f"{self._name}: no token within {TOKEN_S:g} s") from error
        except TokenError:
            raise
        except Exception as error:
            raise TokenError(f"{self._name}: {type(error).__name__}: {error}") from error
        if not token or len(token) > MAX_TOKEN_BYTES or not token.isascii() or " " in token:
            raise TokenError(f"{self._name}: the output is not a token (one line without blanks)")
        logs.hide(token)
        return token


def token_provider(kafka: KafkaSettings) -> TokenProvider:
    """The provider that the settings name.

    Raises:
        SettingsError: If they name no source or two, or the source does not exist.
    """
    command, provider = kafka.oauth_token_command, kafka.oauth_token_provider
    if bool(command) == bool(provider):
        raise SettingsError(
            "kafka.sasl_mechanism OAUTHBEARER needs kafka.oauth_token_command (a program that "
            "prints a token) or kafka.oauth_token_provider (module:function), and not both"
        )
    if command:
        return TokenProvider("kafka.oauth_token_command", _command(command))
    return TokenProvider("kafka.oauth_token_provider", _function(provider))


def _command(text: str) -> Callable[[], Awaitable[str]]:
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"kafka.oauth_token_command: {error}") from error

    async def run() -> str:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            await process.stdout.readexactly(MAX_TOKEN_BYTES + 1)
            raise TokenError(
                "kafka.oauth_token_command: the output is not a token; it is longer than "
                f"{MAX_TOKEN_BYTES} bytes"
            )
        except asyncio.IncompleteReadError as whole:
            printed = whole.partial
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if status:
            raise TokenError(
                f"kafka.oauth_token_command: {arguments[0]} ended with status {status}"
            )
        return printed.decode(errors="replace")

    return run


def _function(name: str) -> Callable[[], Awaitable[str]]:
    module, colon, attribute = name.partition(":")
    try:
        function: Callable[[], Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"kafka.oauth_token_provider: {name!r} cannot be imported ({error}); write it as "
            "module:function"
        ) from error
    if not colon or not callable(function):
        raise SettingsError(f"kafka.oauth_token_provider: {name!r} is not module:function")

    async def call() -> str:
        if inspect.iscoroutinefunction(function):
            return str(await function())
        return str(await asyncio.to_thread(function))

    return call
