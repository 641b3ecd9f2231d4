"""One live decision again, with the state of its worker at that moment."""

from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from models.settings import Settings
from stream.intercept.interceptor import Intercepted
from stream.kafka.client import topic_partitions
from stream.kafka.reader import TopicReader
from stream.messages.journal import BatchDecided, Started
from stream.reproduce.journals import BrokenJournalError, Journal, find_journals, read_journal
from stream.reproduce.player import NotReproducibleError, Player
from stream.reproduce.requests import Requests


@dataclass(frozen=True, slots=True)
class Moment:
    """A request, decided again by the worker that decided it.

    Attributes:
        worker: Name of the worker.
        requests: Requests that it decided before.
        rejected: Rejects among the records before.
        debt: Passes owed less passes given before it, by this worker in the request's scenario.
        outcome: What becomes of the request.
    """

    worker: str
    requests: int
    rejected: int
    debt: float
    outcome: Intercepted

    @property
    def header(self) -> bytes:
        """The header of its decision."""
        output = (*self.outcome.passed, *self.outcome.blocked)[0]
        return output.headers[-1][1] or b""


async def repeat_until(
    settings: Settings, partition: int, offset: int, header: bytes, scenario: str
) -> Moment | None:
    """Repeat the worker that decided a request, up to this request.

    Args:
        settings: Brokers, topics and registry.
        partition: Partition of the request.
        offset: Its offset.
        header: Its logged decision: of several workers that decided it, the one that made this one
            is repeated.
        scenario: Its scenario, whose debt is asked for.

    Returns:
        None if no journal has it. If none makes this decision, what the first one makes.

    Raises:
        NotReproducibleError: If no worker that decided it can be repeated.
    """
    topics, first = settings.topics, None
    faults: list[NotReproducibleError] = []
    if not (await topic_partitions(settings.kafka, topics.journal))[topics.journal]:
        return None
    async with AsyncExitStack() as stack:
        journals, requests = [
            await stack.enter_async_context(TopicReader(settings.kafka, topic, keep=True))
            for topic in (topics.journal, topics.requests)
        ]
        for journal in (await find_journals(journals))[0]:
            for nth in await _batches_of(journals, journal, partition, offset):
                repeating = _Repeating(settings, journals, requests, journal)
                try:
                    moment = await repeating.until(nth, partition, offset, scenario)
                except NotReproducibleError as error:
                    faults.append(error)
                    continue
                if moment is not None and moment.header == header:
                    return moment
                first = first or moment
    if first is None and faults:
        raise faults[0]
    return first


async def _batches_of(
    reader: TopicReader, journal: Journal, partition: int, offset: int
) -> list[int]:
    """The numbers of the batches of a journal that have a request, from 1, as far as it goes."""
    found, number = list[int](), 0
    with suppress(BrokenJournalError):
        async for entry in read_journal(reader, journal):
            if not isinstance(entry, BatchDecided):
                continue
            number += 1
            if any(r.partition == partition and r.first <= offset <= r.last for r in entry.runs):
                found.append(number)
    return found


@dataclass(slots=True)
class _Repeating:
    """A worker that is repeated from its start."""

    settings: Settings
    journals: TopicReader
    requests: TopicReader
    journal: Journal

    async def until(self, nth: int, partition: int, offset: int, scenario: str) -> Moment | None:
        """Repeat it up to a request of its n-th batch; None if that was rejected."""
        number = decided = rejected = 0
        player: Player | None = None
        async for entry in read_journal(self.journals, self.journal):
            if isinstance(entry, Started):
                player = Player(entry, self.settings, Requests(self.requests))
                continue
            assert player is not None  # a journal begins with a start
            number += isinstance(entry, BatchDecided)
            if number < nth or not isinstance(entry, BatchDecided):
                repeated = await player.play(entry)
                if repeated is not None:
                    decided += len(repeated.outcome.decided)
                    rejected += len(repeated.outcome.rejected)
                continue
            before, debt, outcome = await player.decide_until(entry, partition, offset, scenario)
            if outcome.rejected:
                return None
            if before is not None:
                decided += len(before.decided)
                rejected += len(before.rejected)
            return Moment(self.journal.worker, decided, rejected, debt, outcome)
        raise NotReproducibleError(
            f"journal of worker {self.journal.worker}: it has no batch {nth}"
        )
