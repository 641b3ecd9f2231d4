"""The Faust transport ``weir://``: an agent receives one event per fetched chunk.

Faust finds it through the entry point group ``faust.transports``; ``broker="weir://a:1;weir://b:2"``
selects it. It is Faust's aiokafka driver with another consumer (`consumer`), and a conductor that
subscribes to topics added later after a second instead of 45. It is for agents without tables: what
they write goes through a sink.
"""

from typing import Any, ClassVar

from faust.exceptions import ImproperlyConfigured
from faust.transport.conductor import Conductor as FaustConductor
from faust.transport.drivers import aiokafka as base
from faust.types import AppT

from stream.transport.consumer import Consumer


class Conductor(FaustConductor):  # type: ignore[misc]
    """Faust's conductor, with a shorter pause before it subscribes again."""

    _resubscribe_sleep_lock_seconds: float = 1.0


class Transport(base.Transport):  # type: ignore[misc]
    """The driver behind the URL scheme ``weir``."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    Conductor: ClassVar[type[Conductor]] = Conductor

    def __init__(self, url: Any, app: AppT, **kwargs: Any) -> None:
        super().__init__(url, app, **kwargs)
        if app.conf.consumer_auto_offset_reset != "earliest":
            raise ImproperlyConfigured(
                "consumer_auto_offset_reset: 'earliest' is needed; anything else would skip the "
                "chunks that were in flight when nothing had been committed yet"
            )
