"""The rights (ACLs) that each role needs on the brokers, and the error when one is missing.

SECURITY.md shows this table, `weir doctor` checks it, and the tests on Kafka grant it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, Literal

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from models.errors import UserError, causes
from models.settings import KafkaSettings, Settings
from stream.kafka.client import principal

Resource = Literal["topic", "group", "transactional-id", "cluster"]


class Role(StrEnum):
    """What a process does, as far as it needs rights of its own."""

    INTERCEPT = "intercept"
    FEEDBACK = "feedback"
    TRAINER = "trainer"
    TOPICS = "topics"
    STEER = "steer"
    MODELS = "models"
    READ = "read"


class Operation(IntEnum):
    """The operations of Kafka's ACLs that Weir needs, with their codes in the protocol."""

    READ = 3
    WRITE = 4
    CREATE = 5
    ALTER = 7
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    IDEMPOTENT_WRITE = 12

    @property
    def label(self) -> str:
        """Its name in `kafka-acls`."""
        return self.name.title().replace("_", "")


@dataclass(frozen=True)
class Right:
    """Operations that a client must be allowed on a resource.

    Attributes:
        resource: Type of the resource.
        name: Its name, or the prefix of its names.
        operations: The operations; all of them are needed.
        prefixed: Whether ``name`` is a prefix.
        without: For an optional right, what is lost without it; empty for a required one.
    """

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False
    without: str = ""


_READ: Final = (Operation.READ,)
_WRITE: Final = (Operation.WRITE,)
_DESCRIBE: Final = (Operation.DESCRIBE,)
_BOTH: Final = (Operation.READ, Operation.WRITE)
_GROWTH: Final = "partitions are not added to it when the request topic gets more"
_LAG: Final = "this process does not export its lag and members"
_LIMITS: Final = "a max.message.bytes below Kafka's default is not noticed"


def feedback_group(settings: Settings) -> str:
    """The consumer group of the feedback workers."""
    return f"{settings.kafka.group}-feedback"


def rights_of(role: Role, settings: Settings) -> list[Right]:
    """All rights of a role; Read and Write imply Describe."""
    topics = settings.topics
    if role is Role.INTERCEPT:
        return _intercept_rights(settings)
    if role is Role.FEEDBACK:
        return [
            Right("group", feedback_group(settings), _READ),
            *_topics(_READ, topics.passed),
            *_topics(_WRITE, topics.examples),
            Right("topic", topics.examples, (Operation.ALTER,), without=_GROWTH),
            Right("group", settings.kafka.group, _DESCRIBE, without=_LAG),
            Right("topic", topics.requests, _DESCRIBE, without=_LAG),
        ]
    if role is Role.TRAINER:
        return [*_topics(_READ, topics.examples, topics.outcomes), *_topics(_BOTH, topics.models)]
    if role is Role.TOPICS:
        needed = (Operation.CREATE, Operation.DESCRIBE)
        names = topics.model_dump().values()
        growth = (Operation.ALTER,)
        return [
            *_topics(needed, *names),
            *(Right("topic", name, growth, without="`--add-partitions` fails") for name in names),
        ]
    return _tool_rights(role, settings)


def _tool_rights(role: Role, settings: Settings) -> list[Right]:
    """Rights of the commands that people run."""
    topics = settings.topics
    if role is Role.STEER:
        price = "`weir rate get` does not show what exploring costs"
        return [
            *_topics(_BOTH, topics.control),
            Right("topic", topics.rate_state, _READ, without=price),
        ]
    if role is Role.MODELS:
        lost = "`weir model history --decided` fails"
        return [
            *_topics(_BOTH, topics.models),
            Right("topic", topics.passed, _READ, without=lost),
        ]
    lost = "`weir reproduce` fails"
    return [
        *_topics(_READ, topics.requests, topics.passed, topics.blocked, topics.rejected),
        *_topics(_READ, topics.outcomes),
        Right("topic", topics.journal, _READ, without=lost),
        Right("group", settings.kafka.group, (Operation.DESCRIBE,)),
    ]


def _intercept_rights(settings: Settings) -> list[Right]:
    topics, kafka = settings.topics, settings.kafka
    outputs = (topics.passed, topics.blocked, topics.rejected)
    limits, growth = (Operation.DESCRIBE_CONFIGS,), (Operation.ALTER,)
    rights = [
        Right("group", kafka.group, _READ),
        *_topics(_READ, topics.requests, topics.models, topics.control, topics.consumption),
        *_topics(_WRITE, *outputs),
        *_topics(_BOTH, topics.rate_state, topics.rate_summaries),
        *(Right("topic", name, limits, without=_LIMITS) for name in outputs),
        *(Right("topic", name, growth, without=_GROWTH) for name in outputs),
        Right("group", feedback_group(settings), _DESCRIBE, without=_LAG),
    ]
    if settings.worker.journal:
        rights.extend(_topics(_WRITE, topics.journal))
    if settings.worker.guarantee == "exactly-once":
        name = transactional_ids(settings)
        rights.append(Right("transactional-id", name, _WRITE, prefixed=True))
    return rights


def transactional_ids(settings: Settings) -> str:
    """Prefix of the workers' transactional ids; a name that is unique to each process follows."""
    return f"{settings.kafka.group}-{settings.topics.requests}-"


def _topics(operations: tuple[Operation, ...], *names: str) -> list[Right]:
    return [Right("topic", name, operations) for name in names]


class AuthorizationFaultError(UserError, RuntimeError):
    """The client has no right that it needs; names the resource and the operation."""


def missing_right(kafka: KafkaSettings, right: Right) -> str:
    """The message about a right that is missing, with the command that grants it."""
    operations = " and ".join(operation.label for operation in right.operations)
    return (
        f"not authorized: {operations} on {right.resource} {right.name!r} "
        f"({principal(kafka)}); grant it: {grant(kafka, right)}"
    )


def grant(kafka: KafkaSettings, right: Right) -> str:
    """The `kafka-acls` command that grants a right."""
    user = principal(kafka) if principal(kafka).startswith("User:") else "User:NAME"
    operations = " ".join(f"--operation {operation.label}" for operation in right.operations)
    resource = "--cluster" if right.resource == "cluster" else f"--{right.resource} {right.name}"
    prefixed = " --resource-pattern-type prefixed" if right.prefixed else ""
    return (
        f"kafka-acls --bootstrap-server {kafka.servers[0]} --add --allow-principal {user} "
        f"{operations} {resource}{prefixed}"
    )


def explain_authorization(
    error: BaseException, kafka: KafkaSettings, rights: Iterable[Right] = ()
) -> AuthorizationFaultError | None:
    """The right whose lack caused an error; None if no right is missing.

    Args:
        error: An error of a Kafka client, or one that it caused.
        kafka: Settings of that client.
        rights: The rights of its role: Kafka's error names the resource, not the operation.
    """
    for cause in causes(error):
        if not isinstance(cause, KafkaError):
            continue
        missing = _missing(cause, kafka, list(rights))
        if missing is not None:
            return AuthorizationFaultError(missing_right(kafka, missing))
    return None


def _missing(error: KafkaError, kafka: KafkaSettings, rights: Sequence[Right]) -> Right | None:
    if isinstance(error, ClusterAuthorizationFailedError):
        return Right("cluster", "kafka-cluster", (Operation.IDEMPOTENT_WRITE,))
    names = _named(error)
    if isinstance(error, GroupAuthorizationFailedError):
        return _right("group", names or [kafka.group], rights, _READ)
    if isinstance(error, TransactionalIdAuthorizationFailed):
        return _right("transactional-id", names or [f"{kafka.group}-"], rights, _WRITE)
    if isinstance(error, TopicAuthorizationFailedError):
        return _right("topic", names or ["(not named by the broker)"], rights, _BOTH)
    return None


def _right(
    resource: Resource, names: Sequence[str], rights: Sequence[Right], usual: tuple[Operation, ...]
) -> Right:
    for name in names:
        for right in rights:
            same = name.startswith(right.name) if right.prefixed else name == right.name
            if right.resource == resource and same and not right.without:
                return right
    return Right(resource, names[0], usual)


def _named(error: KafkaError) -> list[str]:
    """The resources that an error names: one, or several."""
    found: list[str] = []
    for argument in error.args:
        if isinstance(argument, str):
            found.append(argument)
        elif isinstance(argument, set | frozenset | list | tuple):
            found.extend(str(name) for name in argument)
    return sorted(found)
