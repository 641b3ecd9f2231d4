"""What an error of Kafka's client means in terms of the settings, for whatever command met it."""

import asyncio
import errno
import logging
from collections.abc import Iterable
from typing import Final

from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from models.errors import UserError, causes
from models.settings import Settings, SettingsError
from stream.kafka.connection import ConnectionFaultError, reach
from stream.kafka.rights import Role, explain_refusal, rights_of

logger = logging.getLogger(__name__)

#: What a folder or a disk has when its owner, and nobody else, can mend it.
_OF_FILES: Final = frozenset(
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


def explain(
    error: BaseException, settings: Settings | None, roles: Iterable[Role] = tuple(Role)
) -> UserError | None:
    """An error that a person can read and mend; None where this one says nothing of the sort.

    Args:
        error: What ended a command.
        settings: Its settings, if it got that far.
        roles: What the command may have been, for the operation that a refusal is about.
    """
    for cause in causes(error):
        if isinstance(cause, UserError):
            return cause
    of_file = _file_fault(error)
    if of_file is not None or settings is None:
        return of_file
    rights = [right for role in roles for right in rights_of(role, settings)]
    refused = explain_refusal(error, settings.kafka, rights)
    if refused is not None:
        return refused
    # A request that nobody answered, too: most often there is no connection any more.
    if any(isinstance(cause, KafkaConnectionError | KafkaTimeoutError) for cause in causes(error)):
        fault = _connection_fault(settings)
        if fault is not None:
            return fault
    for cause in causes(error):
        if isinstance(cause, KafkaError):
            return KafkaFaultError(f"Kafka: {cause}; `weir doctor` checks what it may be")
    return None


EVERY_ROLE: Final = tuple(Role)
#: What commands do, where it is one thing.
ROLES: Final = {
    "trainer": (Role.TRAINER,),
    "topics": (Role.TOPICS,),
    "rate": (Role.STEER,),
    "policy": (Role.STEER,),
    "verify": (Role.READ,),
    "replay": (Role.READ,),
}


class KafkaFaultError(UserError, RuntimeError):
    """An error that Kafka's client does not mend, as it tells it."""


class FileFaultError(UserError, RuntimeError):
    """A file or folder that cannot be used, as the operating system tells it."""


def _file_fault(error: BaseException) -> UserError | None:
    if not isinstance(error, OSError) or not error.filename or error.errno not in _OF_FILES:
        return None
    logger.debug("a file that cannot be used", exc_info=error)
    return FileFaultError(
        f"{error.filename}: {error.strerror}; check that the path is right, that it may be "
        "written, and that its disk has room"
    )


def _connection_fault(settings: Settings) -> UserError | None:
    """Why there is no connection, looked at anew; None if there is one."""
    try:
        asyncio.run(reach(settings.kafka))
    except (ConnectionFaultError, SettingsError) as fault:
        return fault
    return None
