"""Options of Kafka's clients: files of TLS."""

import ssl
from pathlib import Path

import pytest

from models.settings import KafkaSettings, SettingsError
from stream.brokers.certificates import Authority
from stream.kafka.client import client_options


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ssl_certfile": "absent.pem"}, "'absent.pem'"),
        ({"ssl_keyfile": "absent.key"}, "without kafka.ssl_certfile"),
        ({"ssl_cafile": "absent.pem"}, "kafka.ssl_cafile: 'absent.pem'"),
    ],
)
def test_files_of_tls_are_named(given: dict[str, str], told: str) -> None:
    """Before anything connects."""
    with pytest.raises(SettingsError) as error:
        client_options(KafkaSettings(security_protocol="SSL", **given))
    assert told in str(error.value)


def test_a_key_with_a_password(tmp_path: Path) -> None:
    """It opens with the password; without one, OpenSSL does not prompt for it."""
    authority = Authority(tmp_path)
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
