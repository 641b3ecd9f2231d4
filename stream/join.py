"""The join of passed requests with their outcomes: pure, no I/O, one object per partition.

A label is 1 as soon as the task's event is known to have happened within its attribution window,
0 when the window has closed without it, and masked before that: never guessed. A window has closed
for request `r` and task `t` when watermark > ts_r + window_t + lateness.

The same request is emitted at most once per maturity: when its first task matures, at every later
maturity (tasks that mature together share one emission), and, rarely, when an event within its
window comes in after that window closed. The last emission has no masked label; the request is
forgotten with it. At once final are requests all of whose events happened.
"""

import heapq
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Final

from models.errors import UserError
from models.tasks import TaskSet
from stream.pending import (
    HELD_KIND,
    MAX_HELD_PER_REQUEST,
    PROGRESS_KEY,
    REQUEST_KIND,
    HeldOutcomes,
    PendingRequest,
    Progress,
    hits_and_ts,
    with_hits,
)
from stream.records import Outcome, TrainingExample

MAX_AHEAD_MS: Final = 86_400_000
MIN_HOLD_MS: Final = 60_000
MAX_HELD_REQUESTS: Final = 100_000
MAX_TASKS: Final = 32
MAX_TS_MS: Final = 2**62


class JoinStateError(UserError, RuntimeError):
    """A recovered state that these settings cannot continue."""


@dataclass(slots=True)
class JoinCounts:
    """What happened to the records of the join; every record is counted once under its fate.

    Attributes:
        requests: Requests taken.
        repeated_requests: Requests seen before.
        future_requests: Requests refused for a time more than a day ahead of the clock.
        joined: Outcomes that made a label 1.
        duplicates: Outcomes whose label was 1 already.
        late: Outcomes out of their window: after it, or not after the request.
        corrections: Outcomes (of those joined) that came after their window had closed as 0.
        unknown_task: Outcomes of a task that is not configured.
        held: Outcomes that came before their request, or without one.
        orphans: Held outcomes whose request never came, dropped.
        examples: Examples emitted.
        completed: Examples without a masked label (of those emitted).
    """

    requests: int = 0
    repeated_requests: int = 0
    future_requests: int = 0
    joined: int = 0
    duplicates: int = 0
    late: int = 0
    corrections: int = 0
    unknown_task: int = 0
    held: int = 0
    orphans: int = 0
    examples: int = 0
    completed: int = 0


@dataclass(slots=True)
class FeedbackJoin:
    """Joins one partition.

    Verbs: `request` and `outcome` take a record, `idle` lets time pass without records, `emit`
    gives the examples that are due; call `emit` after every chunk. Outcomes wait for their request
    for the lateness (one minute at least) of stream time.

    Args:
        tasks: At most 32.
        time_scale: Divides every attribution window.
        lateness_s: How long after a window closed its outcomes may still arrive.
        state: Where requests and held outcomes live, by request id. What is in it is continued:
            after a restart hand in the recovered mapping.

    Raises:
        JoinStateError: If the state was written for other tasks.
    """

    tasks: TaskSet
    time_scale: float
    lateness_s: float
    state: MutableMapping[bytes, bytes] = field(default_factory=dict)
    counts: JoinCounts = field(default_factory=JoinCounts)
    _windows_ms: tuple[int, ...] = field(init=False)
    _lateness_ms: int = field(init=False)
    _deadlines_ms: list[int] = field(init=False)
    _progress: Progress = field(init=False)
    _heap: list[tuple[int, bytes]] = field(default_factory=list, init=False)
    _held: dict[bytes, int | None] = field(default_factory=dict, init=False)
    _changed: dict[bytes, None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if len(self.tasks) > MAX_TASKS:
            raise ValueError(f"tasks: {len(self.tasks)} given; the join takes {MAX_TASKS} at most")
        self._windows_ms = tuple(int(t.window_s * 1000 / self.time_scale) for t in self.tasks)
        self._lateness_ms = int(self.lateness_s * 1000)
        self._deadlines_ms = sorted({window + self._lateness_ms for window in self._windows_ms})
        self._recover()

    @property
    def watermark(self) -> int | None:
        """Stream time in ms: the newest request's, moved on by `idle`; None before the first."""
        return self._progress.watermark

    @property
    def pending(self) -> int:
        """Requests that wait for a maturity."""
        return len(self.state) - len(self._held) - (PROGRESS_KEY in self.state)

    def request(self, request_id: str, raw: bytes, now_ms: int) -> None:
        """Take a passed request.

        Args:
            request_id: Its id.
            raw: A `PendingRequest` in bytes.
            now_ms: The caller's clock. Requests more than a day ahead of it are refused, because
                one of them would close every window.
        """
        request = PendingRequest.from_bytes(raw)
        key = request_id.encode()
        if request.ts > now_ms + MAX_AHEAD_MS:
            self.counts.future_requests += 1
            return
        new = self._progress.take(request.partition, request.offset, request.ts)
        if new:
            self._move_to(request.ts)
        before = self.state.get(key)
        if not new or (before is not None and before[:1] != HELD_KIND):
            self.counts.repeated_requests += 1
            return
        self.counts.requests += 1
        self.state[key] = raw
        heapq.heappush(self._heap, (request.ts + self._deadlines_ms[0], key))
        if before is not None:
            del self._held[key]
            for task, ts in HeldOutcomes.from_bytes(before).events:
                self._apply(key, task, ts)

    def outcome(self, outcome: Outcome) -> None:
        """Take an outcome; in any order, any number of times."""
        if outcome.task not in self.tasks.names:
            self.counts.unknown_task += 1
            return
        if not 0 <= outcome.ts <= MAX_TS_MS:
            self.counts.late += 1
            return
        key = outcome.request_id.encode()
        task = self.tasks.index(outcome.task)
        entry = self.state.get(key)
        if entry is None or entry[:1] == HELD_KIND:
            self._hold(key, entry, task, outcome.ts)
        else:
            self._apply(key, task, outcome.ts)

    def idle(self, elapsed_ms: int) -> None:
        """Let stream time pass with the clock; call it only when nothing waits to be read."""
        if self._progress.watermark is not None:
            self._move_to(self._progress.watermark + elapsed_ms)

    def emit(self) -> list[TrainingExample]:
        """The examples that are due, each request once; forgets what is final."""
        watermark = self._progress.watermark
        if watermark is None:
            return []
        due = self._changed
        self._changed = {}
        while self._heap and self._heap[0][0] < watermark:
            due[heapq.heappop(self._heap)[1]] = None
        entries = [(key, self.state.get(key, b"")) for key in due]
        examples = [
            self._example(key, raw, watermark) for key, raw in entries if raw[:1] == REQUEST_KIND
        ]
        self._drop_orphans(watermark)
        self.counts.examples += len(examples)
        return examples

    def progress(self) -> bytes:
        """To be stored at `PROGRESS_KEY` after all other changes but the deletions."""
        return self._progress.to_bytes()

    def _example(self, key: bytes, raw: bytes, watermark: int) -> TrainingExample:
        request = PendingRequest.from_bytes(raw)
        labels = {
            name: self._label(request, column, watermark)
            for column, name in enumerate(self.tasks.names)
        }
        if None in labels.values():
            self._schedule(key, request.ts, watermark)
        else:
            del self.state[key]
            self.counts.completed += 1
        return TrainingExample(
            request_id=key.decode(),
            ts=request.ts,
            spec=request.spec,
            features=request.features.tolist(),
            labels=labels,
            decision=request.read_decision(),
        )

    def _label(self, request: PendingRequest, task: int, watermark: int) -> int | None:
        if request.hits >> task & 1:
            return 1
        return 0 if watermark > request.ts + self._windows_ms[task] + self._lateness_ms else None

    def _schedule(self, key: bytes, ts: int, watermark: int) -> None:
        """Wake up at the request's next maturity."""
        due = next((ts + d for d in self._deadlines_ms if ts + d >= watermark), None)
        if due is not None:
            heapq.heappush(self._heap, (due, key))

    def _apply(self, key: bytes, task: int, ts: int) -> None:
        raw = self.state[key]
        hits, request_ts = hits_and_ts(raw)
        if not request_ts < ts <= request_ts + self._windows_ms[task]:
            self.counts.late += 1
        elif hits >> task & 1:
            self.counts.duplicates += 1
        else:
            self.counts.joined += 1
            hits |= 1 << task
            self.state[key] = with_hits(raw, hits)
            if self._closed(request_ts, task):
                self.counts.corrections += 1
                self._changed[key] = None
            elif hits == (1 << len(self.tasks)) - 1:
                self._changed[key] = None

    def _closed(self, request_ts: int, task: int) -> bool:
        watermark = self._progress.watermark
        due = request_ts + self._windows_ms[task] + self._lateness_ms
        return watermark is not None and watermark > due

    def _hold(self, key: bytes, entry: bytes | None, task: int, ts: int) -> None:
        events = () if entry is None else HeldOutcomes.from_bytes(entry).events
        if (task, ts) in events or len(events) >= MAX_HELD_PER_REQUEST:
            self.counts.duplicates += 1
            return
        self.counts.held += 1
        self.state[key] = HeldOutcomes((*events, (task, ts))).to_bytes()
        self._held.setdefault(key, self._progress.watermark)
        if len(self._held) > MAX_HELD_REQUESTS:
            self._drop_held(next(iter(self._held)))

    def _drop_orphans(self, watermark: int) -> None:
        hold_ms = max(self._lateness_ms, MIN_HOLD_MS)
        while self._held:
            key, since = next(iter(self._held.items()))
            if since is None or since + hold_ms >= watermark:
                return
            self._drop_held(key)

    def _drop_held(self, key: bytes) -> None:
        self.counts.orphans += len(HeldOutcomes.from_bytes(self.state.pop(key)).events)
        del self._held[key]

    def _move_to(self, ts: int) -> None:
        watermark = self._progress.watermark
        if watermark is None:
            self._held = dict.fromkeys(self._held, ts)
        self._progress.watermark = ts if watermark is None else max(watermark, ts)

    def _recover(self) -> None:
        raw = self.state.get(PROGRESS_KEY)
        self._progress = Progress(self.tasks.names) if raw is None else Progress.from_bytes(raw)
        if self._progress.tasks != self.tasks.names:
            raise JoinStateError(
                f"feedback: the pending requests were stored for the tasks "
                f"{', '.join(self._progress.tasks)}, the settings name "
                f"{', '.join(self.tasks.names)}; give kafka.group a new name to start afresh"
            )
        watermark = self._progress.watermark
        for key, value in self.state.items():
            if key == PROGRESS_KEY:
                continue
            if value[:1] == HELD_KIND:
                self._held[key] = watermark
            else:
                self._recover_request(key, value)
        heapq.heapify(self._heap)

    def _recover_request(self, key: bytes, raw: bytes) -> None:
        ts = hits_and_ts(raw)[1]
        watermark = self._progress.watermark
        reached = ts if watermark is None else watermark
        due = next((ts + d for d in self._deadlines_ms if ts + d >= reached), ts)
        self._heap.append((due, key))
