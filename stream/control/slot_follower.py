"""Follows the slots of ``rate-summaries`` that a worker coordinates, as the assignment moves."""

from typing import Final

from aiokafka import ConsumerRecord

from models.settings import Settings
from stream.control.coordinator import Coordinator
from stream.messages import read_summary
from stream.messages.refusals import Refusals
from stream.messages.topic_follower import TopicFollower

POLL_RECORDS: Final = 2_000
BACKLOG: Final = 60_000
"""Most summaries of a slot that a coordinator reads when it takes over: those of a minute and a
thousand workers. Passes that older ones owe are lost to the fleet's debt."""


class SlotFollower:
    """Hands the summaries of its slots to a coordinator; call `step` again and again.

    Args:
        settings: Brokers and topic.
        coordinator: Says which slots it coordinates, and from where it reads them.
        refusals: Counts summaries that cannot be read.
    """

    def __init__(self, settings: Settings, coordinator: Coordinator, refusals: Refusals) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._refusals = refusals
        self._slots: frozenset[int] = frozenset()
        self._tenure = coordinator.tenure
        self._follower: TopicFollower | None = None
        self._caught_up = False

    async def step(self) -> bool:
        """Poll once, on connections of the slots of now; False if there are none."""
        if self._coordinator.tenure != self._tenure:
            await self._connect()
        if self._follower is None:
            return False
        await self._follower.poll()
        if not self._caught_up and await self._follower.at_end() and self._is_current:
            self._caught_up = True
            for slot in self._slots:
                self._coordinator.caught_up(slot)
        return True

    async def close(self) -> None:
        """Disconnect."""
        follower, self._follower = self._follower, None
        self._slots = frozenset()
        if follower is not None:
            await follower.__aexit__()

    async def _connect(self) -> None:
        await self.close()
        self._tenure, slots = self._coordinator.tenure, self._coordinator.slots
        if slots:
            self._follower = TopicFollower(
                *(self._settings.kafka, self._settings.topics.rate_summaries),
                *(self._receive, self._refusals),
                max_records=POLL_RECORDS,
                starts={slot: self._coordinator.next_offset(slot) for slot in slots},
                backlog=BACKLOG,
            )
            await self._follower.__aenter__()
            for slot, end in self._follower.ends.items():
                self._coordinator.limit(slot, end)
        self._slots, self._caught_up = slots, False

    @property
    def _is_current(self) -> bool:
        """Whether no slot was taken over or lost since it connected.

        A slot that is lost and taken over again goes on from its last state, which may be older
        than what was read here.
        """
        return self._coordinator.tenure == self._tenure

    def _receive(self, record: ConsumerRecord) -> None:
        if not self._is_current:
            return
        summary = read_summary(record.key, record.value)
        self._coordinator.receive(record.partition, record.offset, summary)
