"""The light, stateful stage of a replay: one pass over the merged history, for all arms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stream.replay.arms import DecidingArm
from stream.replay.merge import Merge
from stream.replay.tables import TableWriter


@dataclass
class Deciding:
    """Decides scored requests, and writes them and the decisions.

    Args:
        merge: The history.
        arms: All arms.
        writer: Writes the tables.
        chunk_size: Requests that are decided at a time; decisions do not depend on it.
        given: Requests of each lane that were decided before.
        on_part: Called with the requests given of each lane whenever a part has been written.
        on_chunk: Called after every chunk.

    Attributes:
        requests: Requests decided, with those decided before.
    """

    merge: Merge
    arms: Sequence[DecidingArm]
    writer: TableWriter
    chunk_size: int
    given: list[int]
    on_part: Callable[[Sequence[int]], None]
    on_chunk: Callable[["Deciding"], None]
    requests: int = field(init=False)

    def __post_init__(self) -> None:
        self._given_L: npt.NDArray[np.int64] = np.array(self.given, np.int64)
        self.requests = int(self._given_L.sum())

    async def run(self) -> None:
        """Decide all requests of the history."""
        async for frame in self.merge.frames():
            at = 0
            while at < frame.height:
                chunk = frame.slice(at, min(self.chunk_size, self.writer.room))
                at += chunk.height
                decisions = {arm.name: arm.decide(chunk) for arm in self.arms}
                lanes_N = chunk["lane"].to_numpy()
                self._given_L += np.bincount(lanes_N, minlength=len(self._given_L))
                self.requests += chunk.height
                if self.writer.add(chunk, decisions):
                    self.writer.write()
                    self.on_part(self._given_L.tolist())
                self.on_chunk(self)
        self.writer.write()
