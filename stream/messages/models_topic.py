"""Reading and writing the topic ``models`` from outside the workers.

Every announcement has a key of its own, so that a compacted topic keeps all of them: it is the
history of what served.
"""

import getpass
import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from aiokafka import AIOKafkaProducer

from models.bounds import MAX_ANNOUNCER, MAX_HISTORY
from models.errors import UserError
from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.messages.announcement import ModelAnnouncement
from stream.messages.model_history import Announced, ModelHistory
from stream.messages.parsing import RecordError


class AnnouncementError(UserError):
    """An announcement that readers would refuse; the message names the field."""


def announcer(name: str = "") -> str:
    """Who announces, ``NAME@HOST``; by default the user of this process."""
    if not name:
        name = str(os.getuid())
        with suppress(KeyError, OSError):  # containers have users without a name
            name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"[:MAX_ANNOUNCER]


async def announce(settings: Settings, announcement: ModelAnnouncement) -> int:
    """Write an announcement; returns its offset.

    Raises:
        KafkaError: If no broker accepts it.
        AnnouncementError: If readers would refuse it; nothing is written then.
    """
    value = announcement.to_bytes()
    try:
        ModelAnnouncement.from_bytes(value)
    except RecordError as error:
        raise AnnouncementError(f"{error}; nothing was announced") from error
    producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
    try:
        await producer.start()
        sent = await producer.send_and_wait(
            settings.topics.models, value, key=announcement.key, partition=0
        )
    finally:
        await producer.stop()
    return int(sent.offset)


async def read_history(
    settings: Settings, below: Callable[[ModelAnnouncement], bool] = lambda _: True
) -> ModelHistory:
    """The newest announcements on the topic; records that are none are skipped.

    Args:
        settings: Brokers and the name of the topic.
        below: Whether an announcement is one of this registry; others are skipped.

    Raises:
        TopicError: If there is no such topic.
    """
    announced: deque[Announced] = deque(maxlen=MAX_HISTORY)
    async for record in read_topic(settings.kafka, settings.topics.models):
        with suppress(RecordError):  # workers refuse it too, and log why
            announcement = ModelAnnouncement.from_bytes(record.value)
            ts = record.timestamp if record.timestamp > 0 else announcement.ts
            if below(announcement):
                announced.append(Announced(announcement, record.partition, record.offset, ts))
    return ModelHistory(announced)
