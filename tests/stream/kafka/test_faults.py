"""Errors that a command ends with, in terms of the settings."""

from pathlib import Path

from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, KafkaError

from models.errors import UserError
from models.settings import Settings
from stream.brokers.children import free_port
from stream.kafka.connection import ConnectionFaultError
from stream.kafka.faults import explain

SETTINGS = Settings()


def wrapped(error: Exception) -> Exception:
    """The error as aiokafka and task groups wrap it."""
    outer = KafkaError(f"Unexpected error: {error!r}")
    outer.__cause__ = error
    return ExceptionGroup("unhandled errors in a TaskGroup", [ValueError("another"), outer])


def test_a_fault_of_the_program_is_not_explained() -> None:
    """It keeps its traceback; so does an error of Kafka before the settings are loaded."""
    assert explain(ValueError("a bug"), SETTINGS) is None
    assert explain(KafkaError("x"), None) is None


def test_an_error_for_the_user_is_found_wherever_it_is() -> None:
    """It comes before all others."""
    fault = ConnectionFaultError("why", transient=False)
    assert explain(wrapped(fault), SETTINGS) is fault


def test_another_error_of_kafka_is_quoted() -> None:
    """With the command that checks the brokers."""
    other = explain(wrapped(KafkaError("odd")), SETTINGS)
    assert isinstance(other, UserError)
    assert "weir doctor" in str(other)


def test_a_missing_right_is_named() -> None:
    """Before a connection is tried."""
    found = explain(wrapped(GroupAuthorizationFailedError("weir")), SETTINGS)
    assert "not authorized: Read on group 'weir'" in str(found)


def test_a_lost_connection_is_tried_again_for_its_reason() -> None:
    """The client's error does not say it."""
    settings = SETTINGS.override({"kafka.bootstrap": f"127.0.0.1:{free_port()}"})
    found = explain(wrapped(KafkaConnectionError("unable to bootstrap")), settings)
    assert isinstance(found, ConnectionFaultError)
    assert "connection refused" in str(found)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """With what to check."""
    try:
        (tmp_path / "absent").read_text()
    except OSError as error:
        found = explain(error, SETTINGS)
    assert str(found).startswith(f"{tmp_path / 'absent'}: No such file or directory; check")
