"""Challengers of the serving model: a canary decides some partitions, a shadow decides nothing.

Without I/O. One of each role is in force at a time: the one announced last. Any later announcement
of a model that is to serve ends both, except that a canary that is promoted goes on until it
serves, so that its partitions do not go back to the old model for a moment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from models.bounds import MAX_PARTITION
from stream.intercept.candidates import Candidate
from stream.intercept.loaded_model import LoadedModel
from stream.messages import ModelRole

_BITS: Final = MAX_PARTITION.bit_length()


@dataclass(slots=True, eq=False)
class Challenger:
    """A candidate with the role of canary or shadow.

    Attributes:
        candidate: Its artifact.
        role: ``CANARY`` or ``SHADOW``.
        share: Of the partitions that it decides as a canary; of the requests that it scores as a
            shadow.
        model: The loaded model; None until it is loaded.
    """

    candidate: Candidate
    role: ModelRole
    share: float
    model: LoadedModel | None = None

    def decides(self, partition: int) -> bool:
        """Whether a partition is among those of a canary.

        Partition numbers with their bits reversed are spread evenly over [0, 1) (van der Corput's
        sequence): of any number of partitions the share is met as nearly as it can be, all workers
        choose the same ones, partition 0 always takes part, and a greater share keeps those of a
        smaller one.
        """
        reversed_bits = int(f"{partition:0{_BITS}b}"[::-1], 2)
        return reversed_bits < self.share * 2.0**_BITS


class Challengers:
    """The challengers in force."""

    def __init__(self) -> None:
        self._of: dict[ModelRole, Challenger] = {}

    def __iter__(self) -> Iterator[Challenger]:
        return iter(self._of.values())

    def announce(self, challenger: Challenger) -> None:
        """Put a challenger in force, in place of the one of its role."""
        self._of[challenger.role] = challenger

    def supersede(self, candidate: Candidate) -> None:
        """End all, because a candidate to serve was announced; a canary of its artifact stays."""
        self._of = {
            role: found
            for role, found in self._of.items()
            if role is ModelRole.CANARY and _same(found.candidate, candidate)
        }

    def promote(self, candidate: Candidate) -> LoadedModel | None:
        """The loaded model of the canary if it is the artifact of a candidate to serve."""
        canary = self._of.get(ModelRole.CANARY)
        if canary is not None and _same(canary.candidate, candidate):
            return canary.model
        return None

    def served(self, candidate: Candidate) -> None:
        """End a canary of the artifact that serves from now on."""
        self._of = {
            role: found
            for role, found in self._of.items()
            if role is not ModelRole.CANARY or not _same(found.candidate, candidate)
        }

    def drop(self, model: LoadedModel) -> Challenger | None:
        """End the challenger of a model that failed; None if it is none's."""
        for role, found in self._of.items():
            if found.model is model:
                return self._of.pop(role)
        return None

    def next(self, now_s: float) -> Challenger | None:
        """A challenger that is to be loaded now, if any."""
        waiting = (c for c in self if c.model is None and c.candidate.retry_s <= now_s)
        return next(waiting, None)

    def loaded(self, role: ModelRole) -> Challenger | None:
        """The challenger of a role, if it is loaded."""
        found = self._of.get(role)
        return None if found is None or found.model is None else found

    def has(self, challenger: Challenger) -> bool:
        """Whether a challenger is still in force."""
        return self._of.get(challenger.role) is challenger


def _same(one: Candidate, other: Candidate) -> bool:
    return (one.url, one.manifest_sha256) == (other.url, other.manifest_sha256)
