"""The table of rights, and the message when one is missing."""

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

from models.settings import Settings
from stream.kafka.rights import Role, explain_authorization, rights_of

SETTINGS = Settings().override(
    {
        "worker.guarantee": "exactly-once",
        "worker.journal": True,
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
    Role.MODELS: "`weir model`",
    Role.READ: "`weir verify`, `weir replay`, `weir reproduce`",
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
    """The error as aiokafka and task groups wrap it."""
    outer = KafkaError(f"Unexpected error: {error!r}")
    outer.__cause__ = error
    return ExceptionGroup("unhandled errors in a TaskGroup", [ValueError("another"), outer])


@pytest.mark.parametrize("wrap", [lambda error: error, wrapped], ids=["bare", "wrapped"])
@pytest.mark.parametrize(
    ("error", "role", "missing"),
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
def test_a_missing_right_is_named_with_user_and_command(
    wrap: object, error: Exception, role: Role, missing: str
) -> None:
    """However the error is wrapped; the operation is what the role needs on the resource."""
    assert callable(wrap)
    found = explain_authorization(wrap(error), SETTINGS.kafka, rights_of(role, SETTINGS))
    assert f"not authorized: {missing} (User:app)" in str(found) or "kafka-cluster" in str(found)
    assert "--add --allow-principal User:app --operation " in str(found)
    assert "\n" not in str(found)


def test_other_errors_have_nothing_to_do_with_rights() -> None:
    """They are not explained here."""
    assert explain_authorization(wrapped(KafkaError("x")), SETTINGS.kafka) is None
