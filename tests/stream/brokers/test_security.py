"""What is created to secure the listener of a local cluster."""

import base64
import json
from pathlib import Path

import pytest

from models.settings import KafkaSettings
from stream.brokers.security import USER, Mechanism, Security, secure
from stream.kafka.client import client_options
from stream.kafka.oauth import token_provider
from tests.stream.brokers.test_children import foreign

__all__ = ["foreign"]


@pytest.mark.parametrize("security", list(Security))
def test_clients_have_all_settings_that_they_need(security: Security, tmp_path: Path) -> None:
    """Options of a client can be made of them, for every user."""
    secured = secure(security, tmp_path, users=["app"])
    assert set(secured.clients) == {USER, "app"}
    for client in secured.clients.values():
        options = client_options(client)
        assert options["security_protocol"] == security.protocol
        assert ("ssl_context" in options) == security.tls
        assert ("sasl_plain_password" in options) == security.sasl
    assert (secured.authority is not None) == security.tls


async def test_the_command_for_tokens_works_in_any_directory(foreign: Path) -> None:
    """Also in one that has packages with the names of Weir's."""
    client: KafkaSettings = secure(Security.SASL, foreign, Mechanism.OAUTHBEARER).clients[USER]
    token = await token_provider(client).token()
    _, claims, signature = token.split(".")
    found = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert (found["sub"], found["exp"] - found["iat"], signature) == (USER, 3600, "")
