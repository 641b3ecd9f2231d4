"""What the announcements on the topic ``models`` say: what was to serve when, and who chose it.

Without I/O. The order is that of the offsets; times are those of the records. A time before the
announcement before it, or in the future, is wrong, and counts as unknown.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stream.messages.announcement import ModelAnnouncement, ModelRole


@dataclass(frozen=True, slots=True)
class Announced:
    """An announcement, and the place and time of its record.

    Attributes:
        announcement: The announcement.
        partition: Partition of the record.
        offset: Offset of the record.
        ts: Time of the record, milliseconds since the epoch.
    """

    announcement: ModelAnnouncement
    partition: int
    offset: int
    ts: int

    @property
    def version(self) -> str:
        """The announced version."""
        return self.announcement.version


Usable = Callable[[ModelAnnouncement], bool]
"""Whether a worker could load an announced version."""


@dataclass(frozen=True, slots=True)
class Period:
    """The time from an announcement to the next one.

    Attributes:
        announced: The announcement that began it.
        until: Time of the next announcement, ms; None if there is none, or its time is wrong.
    """

    announced: Announced
    until: int | None


class ModelHistory:
    """The announcements of versions that were to serve, and of their challengers.

    Args:
        everything: All announcements in the order of their offsets.

    Attributes:
        everything: The same.
        announced: Those of versions that were to serve.
        challengers: The others: canaries and shadows.
    """

    def __init__(self, everything: Sequence[Announced]) -> None:
        serve = ModelRole.SERVE
        self.everything = tuple(everything)
        self.announced = tuple(a for a in everything if a.announcement.role is serve)
        self.challengers = tuple(a for a in everything if a.announcement.role is not serve)

    def newest(self, usable: Usable) -> Announced | None:
        """The announcement that workers follow: the newest one that is usable."""
        return next((a for a in reversed(self.announced) if usable(a.announcement)), None)

    def at(self, ts: int) -> Announced | None:
        """The announcement in force at a time, ms; None before the first one."""
        return next((a for a in reversed(self.announced) if a.ts <= ts), None)

    def in_force(self, ts: int) -> list[Announced]:
        """All announcements in force at a time, ms: of what serves, and of its challengers."""
        found: dict[ModelRole, Announced] = {}
        for one in self.everything:
            if one.ts <= ts:
                role = one.announcement.role
                found = {role: one} if role is ModelRole.SERVE else found | {role: one}
        return list(found.values())

    def of(self, version: str) -> Announced | None:
        """The newest announcement of a version, in any role."""
        return next((a for a in reversed(self.everything) if a.version == version), None)

    def timeline(self, now: int) -> Iterator[Period]:
        """The time of every announcement in any role, in the order of their offsets.

        A version that serves is followed by the next one; a challenger ends with the next one, or
        with the next challenger of its role.

        Args:
            now: The present, ms.
        """
        ends: dict[ModelRole, Announced | None] = dict.fromkeys(ModelRole)
        periods = []
        for one in reversed(self.everything):
            role, following = one.announcement.role, ends[one.announcement.role]
            known = following is not None and one.ts <= following.ts <= now
            periods.append(Period(one, following.ts if following and known else None))
            ends = dict.fromkeys(ModelRole, one) if role is ModelRole.SERVE else ends | {role: one}
        yield from reversed(periods)

    def periods(self, now: int) -> Iterator[Period]:
        """The time of every announcement, oldest first.

        Args:
            now: The present, ms.
        """
        for one, following in zip(self.announced, self.announced[1:], strict=False):
            known = one.ts <= following.ts <= now
            yield Period(one, following.ts if known else None)
        if self.announced:
            yield Period(self.announced[-1], None)

    @property
    def faulty(self) -> frozenset[str]:
        """Versions that were rolled back from, and not announced again for another cause since."""
        faulty: set[str] = set()
        for announced in self.announced:
            one = announced.announcement
            if one.goes_back and one.previous is not None:
                faulty.add(one.previous)
            else:
                faulty.discard(one.version)
        return frozenset(faulty)

    def rollback_target(self, usable: Usable) -> Announced | None:
        """The announcement that a rollback repeats: the newest usable one of another version.

        A version that was rolled back from is skipped until it is announced again for another
        cause, so that a second rollback goes further back.
        """
        serving = self.newest(usable)
        if serving is None:
            return None
        faulty = self.faulty
        before = self.announced[: self.announced.index(serving)]
        return next(
            (
                announced
                for announced in reversed(before)
                if announced.version not in {serving.version, *faulty}
                and usable(announced.announcement)
            ),
            None,
        )

    def in_use_since(self, ts: int, now: int, usable: Usable) -> set[str]:
        """Versions that workers may have loaded at ``ts``, ms, or later, or may load now.

        These are all that were in force then, and the newest usable one before them: it serves
        where one of them fails; and challengers that no version that serves has ended before.
        """
        periods = list(self.periods(now))
        first = next(
            (
                number
                for number, period in enumerate(periods)
                if period.until is None or period.until > ts
            ),
            len(periods),
        )
        used = {announced.version for announced in self.announced[first:]}
        began = self.announced[first].offset if 0 < first < len(self.announced) else 0
        used |= {announced.version for announced in self.challengers if announced.offset >= began}
        for announced in reversed(self.announced[:first]):
            if announced.version not in used and usable(announced.announcement):
                return used | {announced.version}
        return used
