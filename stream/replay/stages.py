"""Where pieces are scored: in this process, in several, or on a Ray cluster (`on_ray`)."""

import asyncio
import multiprocessing
import os
from collections.abc import Awaitable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, Self

from models.errors import UserError
from models.process.parent import PARENT_VARIABLE, end_with_parent
from stream.replay.records import Piece
from stream.replay.scoring import PieceScorer, ScoredPiece, ScoringPlan


class ScoringStageError(UserError, RuntimeError):
    """A process that cannot score; says what to do."""


class ScoringStage(Protocol):
    """Where pieces are scored; a context manager.

    Attributes:
        ahead: Pieces that should be submitted before the first of them is awaited.
    """

    ahead: int

    def submit(self, piece: Piece, verdict: str | None) -> Awaitable[ScoredPiece]:
        """Score a piece, possibly at once."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class InThisProcess:
    """Scores in this process, when a result is awaited."""

    ahead = 1

    def __init__(self, plan: ScoringPlan) -> None:
        self._scorer = PieceScorer(plan)

    async def submit(self, piece: Piece, verdict: str | None) -> ScoredPiece:
        """Score a piece."""
        return self._scorer.score(piece, verdict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Nothing to end."""


class SideBySide:
    """Scores pieces somewhere else, several at a time; a stage implements :meth:`_score`.

    Args:
        scorers: Pieces that are scored at a time.
    """

    def __init__(self, scorers: int) -> None:
        self.ahead = 2 * scorers + 1
        self._tasks: set[asyncio.Task[ScoredPiece]] = set()

    def submit(self, piece: Piece, verdict: str | None) -> Awaitable[ScoredPiece]:
        """Begin to score a piece; awaiting it raises ScoringStageError if that failed."""
        task = asyncio.get_running_loop().create_task(self._score(piece, verdict))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _score(self, piece: Piece, verdict: str | None) -> ScoredPiece:
        raise NotImplementedError

    def _drop(self) -> None:
        """Drop what is not awaited."""
        for task in self._tasks:
            task.cancel()


class InProcesses(SideBySide):
    """Scores in processes of its own."""

    def __init__(self, plan: ScoringPlan, processes: int) -> None:
        super().__init__(processes)
        self._pool = ProcessPoolExecutor(
            processes, multiprocessing.get_context("spawn"), _start, (plan, os.getpid())
        )

    async def _score(self, piece: Piece, verdict: str | None) -> ScoredPiece:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, _score, piece, verdict)
        except BrokenProcessPool as error:
            raise ScoringStageError(
                "a scoring process ended, perhaps for lack of memory; the same command goes on "
                "where the replay stopped; give it fewer --processes"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """End the processes; what is not awaited is dropped."""
        self._drop()
        self._pool.shutdown(wait=True, cancel_futures=True)


_scorers: list[PieceScorer] = []


def _start(plan: ScoringPlan, parent: int) -> None:
    os.environ[PARENT_VARIABLE] = str(parent)
    end_with_parent()
    _scorers.append(PieceScorer(plan))


def _score(piece: Piece, verdict: str | None) -> ScoredPiece:
    return _scorers[0].score(piece, verdict)
