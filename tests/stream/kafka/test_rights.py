"""The table of rights, and what refusals mean."""

import re
from pathlib import Path

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from models.errors import UserError
from models.settings import Settings
from stream.kafka.connection import ConnectionFaultError
from stream.kafka.faults import explain
from stream.kafka.rights import Role, explain_refusal, rights_of

SETTINGS = Settings().override(
    {
        "worker.guarantee": "exactly-once",
        "kafka.security_protocol": "SASL_SSL",
        "kafka.sasl_username": "app",
    }
)
PROCESSES = {
    Role.INTERCEPT: "`weir worker`",
    Role.FEEDBACK: "`weir worker --role feedback`",
    Role.TRAINER: "`weir trainer`",
    Role.TOPICS: "`weir topics`",
    Role.STEER: "`weir rate`, `weir policy`",
    Role.READ: "`weir verify`, `weir replay`",
}
ROW = re.compile(r"^\| (`weir [^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def test_security_md_shows_the_table() -> None:
    """Each right of each role, no more and no fewer."""
    text = (Path(__file__).parents[3] / "SECURITY.md").read_text()
    shown = {
        (process, kind.split()[0].removesuffix("s"), name.strip("` "), operations)
        for process, kind, names, operations in ROW.findall(text)
        for name in names.split(", ")
    }
    needed = {
        (
            PROCESSES[role],
            right.resource,
            right.name,
            ", ".join(o.label for o in right.operations) + (" (optional)" * bool(right.without)),
        )
        for role in Role
        for right in rights_of(role, SETTINGS)
    }
    assert shown == needed


def wrapped(error: Exception) -> Exception:
    """As aiokafka and task groups wrap what they meet."""
    outer = KafkaError(f"Unexpected error: {error!r}")
    outer.__cause__ = error
    return ExceptionGroup("unhandled errors in a TaskGroup", [ValueError("another"), outer])


@pytest.mark.parametrize("wrap", [lambda error: error, wrapped], ids=["bare", "wrapped"])
@pytest.mark.parametrize(
    ("error", "role", "told"),
    [
        (GroupAuthorizationFailedError("weir"), Role.INTERCEPT, "Read on group 'weir'"),
        (GroupAuthorizationFailedError(), Role.INTERCEPT, "Read on group 'weir'"),
        (
            TopicAuthorizationFailedError("bid-requests-passed"),
            Role.INTERCEPT,
            "Write on topic 'bid-requests-passed'",
        ),
        (
            TopicAuthorizationFailedError({"bid-requests-passed"}),
            Role.FEEDBACK,
            "Read on topic 'bid-requests-passed'",
        ),
        (
            TopicAuthorizationFailedError("rate-state"),
            Role.INTERCEPT,
            "Read and Write on topic 'rate-state'",
        ),
        (
            TransactionalIdAuthorizationFailed("weir-bid-requests-3"),
            Role.INTERCEPT,
            "Write on transactional-id 'weir-bid-requests-'",
        ),
        (ClusterAuthorizationFailedError(), Role.TRAINER, "IdempotentWrite on cluster"),
    ],
)
def test_a_refusal_is_told_with_operation_user_and_command(
    wrap: object, error: Exception, role: Role, told: str
) -> None:
    """Whatever it is wrapped in; the operation is what the role needs there."""
    assert callable(wrap)
    found = explain_refusal(wrap(error), SETTINGS.kafka, rights_of(role, SETTINGS))
    assert f"not authorized: {told} (User:app)" in str(found) or "kafka-cluster" in str(found)
    assert "--add --allow-principal User:app --operation " in str(found)
    assert "\n" not in str(found)


def test_other_errors_are_no_refusals() -> None:
    """What nobody can mend by a setting stays what it is."""
    assert explain_refusal(wrapped(KafkaError("x")), SETTINGS.kafka) is None
    assert explain(ValueError("a bug"), SETTINGS) is None
    assert explain(KafkaError("x"), None) is None


def test_an_error_for_people_is_found_wherever_it_is() -> None:
    """It comes before all others."""
    fault = ConnectionFaultError("why", passing=False)
    assert explain(wrapped(fault), SETTINGS) is fault
    other = explain(wrapped(KafkaError("odd")), SETTINGS)
    assert isinstance(other, UserError)
    assert "weir doctor" in str(other)
