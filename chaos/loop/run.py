"""One run of the loop over a recorded history, disturbed by kills or not."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.loop.final import Deliveries, FinalState, deliveries, final_state, stored
from chaos.loop.history import Round, clock_records
from chaos.loop.killer import RESULTS, Killer, Pace, until
from chaos.loop.kills import Kill, Moment
from chaos.loop.roles import Ended, Roles
from models.artifact.registry import load_configured
from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.topics import ensure_topics
from stream.messages.models_topic import read_history
from stream.transport import ChunkSink, Outgoing
from trainer.store.example_store import EXAMPLES, OUTCOMES

#: The clock is published again in this interval until the rebuild has begun.
CLOCK_S: Final = 3.0
SLICES: Final = 20


@dataclass
class Found:
    """What a run was, and what it left.

    Attributes:
        state: The final store and registry.
        deliveries: How often records were stored.
        kills: Kills that hit their process, in order.
        missed: Kills whose moment did not come.
        ended: Processes that ended without being killed.
        stream_s: How long each round's requests took to be stored.
        rebuild_s: How long each rebuild took, announcement included.
        seconds: How long all of it took.
    """

    state: FinalState
    deliveries: Deliveries
    kills: list[Kill] = field(default_factory=list)
    missed: list[Kill] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    stream_s: list[float] = field(default_factory=list)
    rebuild_s: list[float] = field(default_factory=list)
    seconds: float = 0.0


class LoopRun:
    """Plays a history on running brokers.

    Args:
        settings: Settings of all processes.
        folder: Folder of the logs.
        workers: Number of intercept workers.
        history: The rounds.
        kills: What is killed.
        pace: How long the stretches take.
        report: Called with a line of text about the progress.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        workers: int,
        history: Sequence[Round],
        kills: Sequence[Kill],
        pace: Pace,
        report: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._roles = Roles(settings, folder, workers)
        self._history = history
        self._pace = pace
        self._report = report
        self._killer = Killer(settings, self._roles, kills, pace, report)
        self._store = Path(settings.trainer.store)

    async def play(self) -> Found:
        """Play all rounds, stop everything, and read what is left.

        Raises:
            StuckError: If the loop does not get on.
        """
        start, stream_s, rebuild_s = time.monotonic(), [], []
        await ensure_topics(self._settings.kafka, self._settings.topics)
        options, topics = client_options(self._settings.kafka), self._settings.topics
        names = [topics.requests, topics.outcomes, topics.examples]
        async with ChunkSink(options, names) as self._sink, self._roles:
            for number, made in enumerate(self._history):
                stream_s.append(await self._stream(number, made))
                rebuild_s.append(await self._rebuild(number, made))
                self._report(
                    f"round {number + 1} of {len(self._history)}: stored after "
                    f"{stream_s[-1]:.0f} s, rebuilt in {rebuild_s[-1]:.0f} s, "
                    f"{len(self._killer.done)} kills"
                )
            await self._swapped()
            await self._roles.stop()
        spec = await asyncio.to_thread(load_configured, self._settings.model)
        return Found(
            await final_state(self._settings, spec.spec),
            deliveries(self._settings),
            self._killer.done,
            self._killer.missed,
            self._roles.ended,
            stream_s,
            rebuild_s,
            time.monotonic() - start,
        )

    async def _stream(self, number: int, made: Round) -> float:
        """Publish a round, and wait until all of it is stored."""
        start = time.monotonic()
        async with self._killer.during(number, Moment.STREAMING, Moment.BETWEEN_COMMITS):
            await self._publish(made)
        ids, outcomes = set(made.ids), {(o.request_id, o.task, o.ts) for o in made.outcomes}

        async def all_stored() -> bool:
            rows = stored(self._settings, EXAMPLES, "request_id")["request_id"]
            if not ids <= set(rows):
                return False
            columns = "request_id", "task", "ts"
            return outcomes <= set(stored(self._settings, OUTCOMES, *columns).iter_rows())

        await until(all_stored, f"all {len(ids)} requests and their outcomes in the store")
        return time.monotonic() - start

    async def _publish(self, made: Round) -> None:
        """Requests and outcomes at an even pace over ``pace.stream_s``, outcomes independently."""
        topics, partitions = self._settings.topics, self._settings.kafka.partitions
        began = time.monotonic()
        for part in range(SLICES):
            for topic, records in (
                (topics.requests, made.requests[part::SLICES]),
                (
                    topics.outcomes,
                    [
                        Outgoing(o.request_id.encode(), o.to_bytes(), o.ts, ())
                        for o in made.outcomes[part::SLICES]
                    ],
                ),
            ):
                for partition in range(partitions):
                    if rows := records[partition::partitions]:
                        await self._sink.send(topic, partition, rows)
            due = began + self._pace.stream_s * (part + 1) / SLICES
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _rebuild(self, number: int, made: Round) -> float:
        """Let the labels become final, and wait until the rebuild has ended and is announced."""
        clock = asyncio.create_task(self._tick(made.clock_ms))
        try:
            await until(
                lambda: self._has("rebuilds/*/job.json", number + 1), f"rebuild {number + 1}"
            )
        finally:
            clock.cancel()
            await asyncio.gather(clock, return_exceptions=True)
        start = time.monotonic()
        moments = Moment.REBUILDING, Moment.PUBLISHING, Moment.CONCLUDED, Moment.ANNOUNCED
        async with self._killer.during(number, *moments):
            await until(lambda: self._ended(number + 1), f"the end of rebuild {number + 1}")
        await until(lambda: self._ended(number + 1), f"the end of rebuild {number + 1}")
        return time.monotonic() - start

    async def _tick(self, ts: int) -> None:
        while True:
            await self._sink.send(self._settings.topics.examples, 0, clock_records(ts))
            await asyncio.sleep(CLOCK_S)

    async def _has(self, pattern: str, count: int) -> bool:
        return len(list(self._store.glob(pattern))) >= count

    async def _ended(self, rebuilds: int) -> bool:
        """Whether so many rebuilds have ended: the last one's scratch folder is gone."""
        return await self._has(RESULTS, rebuilds) and not await self._has("scratch/rebuild-*", 1)

    async def _swapped(self) -> None:
        """Wait until every worker serves what was announced last."""
        history = await read_history(self._settings)
        newest = history.announced[-1].announcement.version if history.announced else ""

        async def all_serve() -> bool:
            serving = await self._roles.serving()
            return [serving.get(name) for name in self._roles.workers] == [newest] * len(
                self._roles.workers
            )

        if newest:
            await until(all_serve, f"{newest} in every worker")
