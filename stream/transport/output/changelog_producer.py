"""Faust's producer, which writes the changelogs of tables, with a flush that can be relied on.

Faust 0.15.3 flushes its buffer before each commit, but stops waiting after a tenth of a second
without progress, does not count the message that is being sent, and ignores a message that the
broker refused. Each of the three commits offsets whose changelog records were never written.
"""

import asyncio
from typing import Any, Final

from faust.exceptions import ProducerSendError
from faust.transport.drivers import aiokafka as base
from faust.transport.producer import ProducerBuffer as FaustBuffer
from faust.types import FutureMessage

_RECHECK_S: Final = 0.1  # nothing signals that a buffer has stopped


class ProducerBuffer(FaustBuffer):  # type: ignore[misc]
    """Counts the messages that are being sent, and flushes until there are none."""

    _sending = 0

    async def _send_pending(self, fut: FutureMessage) -> None:
        self._sending += 1
        await super()._send_pending(fut)
        self._sending -= 1  # not on an error: after a lost message no flush may succeed

    @property
    def size(self) -> int:
        """Number of messages that have not been passed to the client yet."""
        return int(super().size) + self._sending

    async def flush(self) -> None:
        """Wait until every message has been passed to the client.

        Raises:
            ProducerSendError: If the buffer has stopped before that.
        """
        while self.size:
            if self.state != "running":
                raise ProducerSendError(f"{self.size} messages were not sent: buffer {self.state}")
            self.message_sent.clear()
            try:
                await asyncio.wait_for(self.message_sent.wait(), _RECHECK_S)
            except TimeoutError:
                continue


class ChangelogProducer(base.Producer):  # type: ignore[misc]
    """Faust's producer; when `flush` returns, the broker has all messages sent before."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer = ProducerBuffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app
        self._refused: BaseException | None = None

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send a message; see Faust."""
        sent = await super().send(*args, **kwargs)
        sent.add_done_callback(self._note)
        return sent

    def _note(self, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and sent.exception() is not None:
            self._refused = self._refused or sent.exception()

    async def flush(self) -> None:
        """Wait until the broker has acknowledged every message.

        Raises:
            ProducerSendError: If it refused any message, now or earlier: nothing may be committed.
        """
        await super().flush()
        if self._refused is not None:
            raise ProducerSendError(f"a message was lost: {self._refused!r}") from self._refused
