"""The requests that a journal names by their offsets."""

from collections import deque
from collections.abc import Sequence

from aiokafka import TopicPartition

from stream.kafka.reader import TopicReader
from stream.messages.journal import Run
from stream.transport import FetchedRecord


class MissingRequestsError(LookupError):
    """Requests that were decided and are no longer on their topic; names the offsets."""


class _Buffer:
    """Records of one partition that are fetched already: all from ``start`` to ``end``."""

    def __init__(self, start: int) -> None:
        self.records: deque[FetchedRecord] = deque()
        self.start = self.end = start


class Requests:
    """Reads runs of requests; cheap where each begins soon after the one before.

    Args:
        reader: Reader of the topic of requests.
    """

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader
        self._buffers: dict[int, _Buffer] = {}

    async def read(self, runs: Sequence[Run]) -> list[FetchedRecord]:
        """The requests of a batch, in its order.

        Raises:
            MissingRequestsError: If some are not on the topic.
        """
        found: list[FetchedRecord] = []
        for run in runs:
            found += await self._read_run(run)
        return found

    async def _read_run(self, run: Run) -> list[FetchedRecord]:
        tp = TopicPartition(self._reader.topic, run.partition)
        where = f"{tp.topic}[{tp.partition}]@{run.first} to {run.last}"
        if tp not in self._reader.ends:
            raise MissingRequestsError(f"{where}: no such partition")
        buffer = self._buffers.get(run.partition)
        if buffer is None or not buffer.start <= run.first <= buffer.end:
            buffer = self._buffers[run.partition] = _Buffer(run.first)
            self._reader.consumer.seek(tp, run.first)
        while buffer.records and buffer.records[0].offset < run.first:
            buffer.records.popleft()
        buffer.start = run.first
        while buffer.end <= run.last and not await self._reader.at_end(tp):
            buffer.records += (await self._reader.fetch([tp])).get(tp, ())
            buffer.end = await self._reader.consumer.position(tp)
        found = []
        for record in buffer.records:
            if record.offset > run.last:
                break
            found.append(record)
        if len(found) != run.count or found[-1].offset != run.last:
            raise MissingRequestsError(
                f"{where}: {run.count} requests were decided, {len(found)} are there"
            )
        return found
