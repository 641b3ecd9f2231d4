"""Faust's own producer, which writes the changelogs of tables, made safe to commit behind.

Faust 0.15.3 flushes its buffer before each commit, but gives up after a tenth of a second without
progress, does not count the message it is sending, and forgets a message that the broker refused.
Each of the three commits offsets whose changelog records were never written.
"""

import asyncio
from typing import Any, Final

from faust.exceptions import ProducerSendError
from faust.transport.drivers import aiokafka as base
from faust.transport.producer import ProducerBuffer as FaustBuffer
from faust.types import FutureMessage

_RECHECK_S: Final = 0.1  # a buffer that stopped does not announce it


class ProducerBuffer(FaustBuffer):  # type: ignore[misc]
    """Knows what is under way, and flushes until nothing is."""

    _sending = 0

    async def _send_pending(self, fut: FutureMessage) -> None:
        self._sending += 1
        await super()._send_pending(fut)
        self._sending -= 1  # not on an error: what was lost stays missing, and no flush succeeds

    @property
    def size(self) -> int:
        """Messages that are not handed to the client yet."""
        return int(super().size) + self._sending

    async def flush(self) -> None:
        """Wait until every message put so far has been handed to the client.

        Raises:
            ProducerSendError: If the buffer has stopped before.
        """
        while self.size:
            if self.state != "running":
                raise ProducerSendError(f"{self.size} messages were not sent: buffer {self.state}")
            self.message_sent.clear()
            try:
                await asyncio.wait_for(self.message_sent.wait(), _RECHECK_S)
            except TimeoutError:
                continue


class Producer(base.Producer):  # type: ignore[misc]
    """A flush that returns means that all before it is in the broker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer = ProducerBuffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app
        self._refused: BaseException | None = None

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        """Schedule a message; see Faust."""
        sent = await super().send(*args, **kwargs)
        sent.add_done_callback(self._note)
        return sent

    def _note(self, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and sent.exception() is not None:
            self._refused = self._refused or sent.exception()

    async def flush(self) -> None:
        """Wait until the broker has acknowledged every message.

        Raises:
            ProducerSendError: If it ever refused one: nothing may be committed any more.
        """
        await super().flush()
        if self._refused is not None:
            raise ProducerSendError(f"a message was lost: {self._refused!r}") from self._refused
