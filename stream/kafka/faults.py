"""Explains an error of Kafka's client in terms of the settings, for whichever command met it."""

import asyncio
import errno
import logging
from collections.abc import Iterable
from typing import Final

from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from models.errors import UserError, causes
from models.settings import Settings, SettingsError
from stream.kafka.connection import ConnectionFaultError, reach
from stream.kafka.rights import Role, explain_authorization, rights_of

logger = logging.getLogger(__name__)

#: Errors of a path or a disk that the user can correct.
_FILE_ERRORS: Final = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
    }
)

EVERY_ROLE: Final = tuple(Role)
#: The roles of each command that has only some of them.
ROLES: Final = {
    "trainer": (Role.TRAINER,),
    "topics": (Role.TOPICS,),
    "rate": (Role.STEER,),
    "policy": (Role.STEER,),
    "model": (Role.MODELS,),
    "verify": (Role.READ,),
    "replay": (Role.READ,),
    "reproduce": (Role.READ,),
}


class KafkaFaultError(UserError, RuntimeError):
    """An error of Kafka's client that has no better explanation; quotes its message."""


class FileFaultError(UserError, RuntimeError):
    """A file or folder that cannot be used; quotes the operating system."""


def explain(
    error: BaseException, settings: Settings | None, roles: Iterable[Role] = EVERY_ROLE
) -> UserError | None:
    """The error that the user should read; None if this one is a fault of the program.

    Args:
        error: Exception that ended a command.
        settings: The settings of the command, if they were loaded.
        roles: Roles that the command may have, to find the operation that it lacks.
    """
    for cause in causes(error):
        if isinstance(cause, UserError):
            return cause
    file_fault = _file_fault(error)
    if file_fault is not None or settings is None:
        return file_fault
    rights = [right for role in roles for right in rights_of(role, settings)]
    unauthorized = explain_authorization(error, settings.kafka, rights)
    if unauthorized is not None:
        return unauthorized
    # A request that timed out, too: most often the connection is lost.
    if any(isinstance(cause, KafkaConnectionError | KafkaTimeoutError) for cause in causes(error)):
        fault = _connection_fault(settings)
        if fault is not None:
            return fault
    for cause in causes(error):
        if isinstance(cause, KafkaError):
            return KafkaFaultError(f"Kafka: {cause}; run `weir doctor` to check the brokers")
    return None


def _file_fault(error: BaseException) -> UserError | None:
    if not isinstance(error, OSError) or not error.filename or error.errno not in _FILE_ERRORS:
        return None
    logger.debug("a file cannot be used", exc_info=error)
    return FileFaultError(
        f"{error.filename}: {error.strerror}; check that the path is right, that it is "
        "writable, and that its disk has room"
    )


def _connection_fault(settings: Settings) -> UserError | None:
    """Connect again, to learn why it fails; None if it does not."""
    try:
        asyncio.run(reach(settings.kafka))
    except (ConnectionFaultError, SettingsError) as fault:
        return fault
    return None
