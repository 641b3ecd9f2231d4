"""The join of passed requests with their outcomes: pure, no I/O, one object per partition.

A label is 1 as soon as the task's event is known to have happened within its attribution window,
0 when the window has closed without it, and masked before that: never guessed. A window has closed
for request `r` and task `t` when watermark > ts_r + window_t + lateness.

The same request is emitted at most once per maturity: when its first task matures, at every later
maturity (tasks that mature together share one emission), and, rarely, when an event within its
window comes in after that window closed. The last emission has no masked label; the request is
forgotten with it. At once final are requests all of whose events happened.

Memory is bounded by a budget: requests are kept as `stream.feedback.sampling.py` says, outcomes
without a request take a part of it and the oldest leave first.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Final

from models.bounds import MAX_JOIN_KEY_BYTES, MAX_SKEW_MS, MAX_TASKS
from models.tasks import TaskSet
from stream.feedback.sampling import Admission
from stream.feedback.early_outcomes import HELD_PART, EarlyOutcomes
from stream.feedback.join_counts import JoinCounts
from stream.feedback.pending import (
    HELD_KIND,
    PROGRESS_KEY,
    REQUEST_KIND,
    PendingRequest,
    Progress,
    status,
    tasks_digest,
    time_of,
    with_status,
)
from stream.feedback.stream_time import StreamTime
from stream.feedback.timers import Timers
from stream.messages import Outcome, RecordError, TrainingExample

MIN_HOLD_MS: Final = 60_000
#: What a request takes in memory besides its key and value: two objects, a slot of the table and
#: its timer (`python benchmarks/feedback_memory.py`).
ENTRY_BYTES: Final = 220
DEFAULT_BUDGET_BYTES: Final = 512 * 1024 * 1024
TIMER_BUCKETS: Final = 4096
#: One request moves time on by this part of the longest window at most: none is lost by that.
SKEW_PART: Final = 8
STALE_TIMERS: Final = 10_000


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
            after a restart hand in the recovered mapping, whose entries have passed
            `stream.feedback.pending.check_entry`. Requests that were stored for other tasks stay
            until their last window closes, so that settings which were changed by mistake can be
            changed back.
        budget_bytes: Most memory of what is held.
    """

    tasks: TaskSet
    time_scale: float
    lateness_s: float
    state: MutableMapping[bytes, bytes] = field(default_factory=dict)
    budget_bytes: int = DEFAULT_BUDGET_BYTES
    counts: JoinCounts = field(default_factory=JoinCounts)
    admission: Admission = field(init=False)
    foreign: int = field(default=0, init=False)
    _digest: int = field(init=False)
    _windows_ms: tuple[int, ...] = field(init=False)
    _lateness_ms: int = field(init=False)
    _deadlines_ms: list[int] = field(init=False)
    _progress: Progress = field(init=False)
    _time: StreamTime = field(init=False)
    _timers: Timers = field(init=False)
    _early: EarlyOutcomes = field(init=False)
    _changed: dict[bytes, None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if len(self.tasks) > MAX_TASKS:
            raise ValueError(f"tasks: {len(self.tasks)} given; the join takes {MAX_TASKS} at most")
        self._digest = tasks_digest(self.tasks.names)
        self._windows_ms = tuple(int(t.window_s * 1000 / self.time_scale) for t in self.tasks)
        self._lateness_ms = int(self.lateness_s * 1000)
        self._deadlines_ms = sorted({window + self._lateness_ms for window in self._windows_ms})
        hold_ms = self._deadlines_ms[-1]
        self._timers = Timers(max(1, hold_ms // TIMER_BUCKETS))
        self.admission = Admission(int(self.budget_bytes * (1 - HELD_PART)), hold_ms)
        self._early = EarlyOutcomes(
            self.state, self._digest, int(self.budget_bytes * HELD_PART), self.counts
        )
        self._recover()

    @property
    def watermark(self) -> int | None:
        """Stream time in ms: the newest request's, moved on by `idle`; None before the first."""
        return self._time.watermark

    @property
    def pending(self) -> int:
        """Requests that wait for a maturity."""
        return len(self.state) - len(self._early) - (PROGRESS_KEY in self.state)

    @property
    def held_bytes(self) -> int:
        """Memory of everything that is held."""
        return self.admission.held_bytes + self._early.bytes

    def request(self, key: bytes, raw: bytes, now_ms: int) -> None:
        """Take a passed request.

        Args:
            key: Its id.
            raw: A `PendingRequest` in bytes.
            now_ms: The caller's clock. Requests more than ten minutes ahead of it are refused,
                because they would close windows too early.

        Raises:
            RecordError: If the key or the request is out of bounds; nothing is changed then.
        """
        request = PendingRequest.from_bytes(_checked(key, raw))
        self._time.correct(now_ms)
        if request.ts > now_ms + MAX_SKEW_MS:
            self.counts.future_requests += 1
            return
        new = self._progress.take(request.partition, request.offset, request.ts)
        if new:
            self._move_to(request.ts)
        before = self.state.get(key)
        if not new or (before is not None and before[:1] != HELD_KIND):
            self.counts.repeated_requests += 1
            return
        if not self._admit(key, raw, request.ts):
            return
        self.counts.requests += 1
        early = self._early.take(key)
        self.state[key] = with_status(raw, 0, self._digest, self.admission.halvings)
        self.admission.hold(_cost(key, raw), request.ts)
        self._timers.add(request.ts + self._deadlines_ms[0], key)
        for task, ts in early:
            self._apply(key, task, ts)

    def outcome(self, outcome: Outcome) -> None:
        """Take an outcome; in any order, any number of times.

        Raises:
            RecordError: If its id is out of bounds; nothing is changed then.
        """
        if outcome.task not in self.tasks.names:
            self.counts.unknown_task += 1
            return
        key = outcome.request_id.encode()
        _checked(key, b"")
        task = self.tasks.index(outcome.task)
        entry = self.state.get(key)
        if entry is None or entry[:1] == HELD_KIND:
            self._early.hold(key, task, outcome.ts, self.watermark)
        else:
            self._apply(key, task, outcome.ts)

    def idle(self, elapsed_ms: int) -> None:
        """Let stream time pass with the clock; call it only when nothing waits to be read."""
        self._time.pass_by(elapsed_ms)

    def emit(self) -> list[TrainingExample]:
        """The examples that are due, each request once; forgets what is final."""
        watermark = self._time.watermark
        if watermark is None:
            return []
        changed, self._changed = self._changed, {}
        examples = []
        for key in dict.fromkeys(self._timers.take(watermark)):
            example = self._due(key, watermark)
            if example is not None:
                changed.pop(key, None)
                examples.append(example)
        for key in changed:
            raw = self.state.get(key, b"")
            if raw[:1] == REQUEST_KIND:
                examples.append(self._example(key, raw, watermark))
        self._early.drop_before(watermark - max(self._lateness_ms, MIN_HOLD_MS))
        self._drop_stale_timers()
        self.admission.adjust(watermark)
        self.counts.examples += len(examples)
        return examples

    def progress(self) -> bytes:
        """To be stored at `PROGRESS_KEY` after all other changes but the deletions."""
        self._progress.watermark = self._time.watermark
        return self._progress.to_bytes()

    def _admit(self, key: bytes, raw: bytes, ts: int) -> bool:
        """Whether a new request is kept; counts why not."""
        watermark = self._time.watermark or ts
        if ts + self._deadlines_ms[-1] < watermark:
            self.counts.past_requests += 1
            return False
        size = _cost(key, raw)
        self.admission.offered(size, watermark)
        if not self.admission.keeps(key):
            self.counts.left_out_requests += 1
            return False
        if not self.admission.has_room(size):
            self.counts.overflown_requests += 1
            return False
        return True

    def _due(self, key: bytes, watermark: int) -> TrainingExample | None:
        """What a timer gives: none for a request that was final before."""
        raw = self.state.get(key, b"")
        if raw[:1] != REQUEST_KIND:
            return None
        if status(raw)[1] != self._digest:
            self._drop_foreign(key, raw)
            return None
        example = self._example(key, raw, watermark)
        if not example.mature:
            ts = example.ts
            due = next(ts + d for d in self._deadlines_ms if ts + d >= watermark)
            self._timers.add(due, key)
        return example

    def _example(self, key: bytes, raw: bytes, watermark: int) -> TrainingExample:
        """What is known of a request; forgotten if that is all."""
        request = PendingRequest.from_bytes(raw)
        labels = {
            name: self._label(request, column, watermark)
            for column, name in enumerate(self.tasks.names)
        }
        if None not in labels.values():
            del self.state[key]
            self.admission.release(_cost(key, raw), request.ts)
            self.counts.completed += 1
        return TrainingExample(
            request_id=key.decode(),
            ts=request.ts,
            spec=request.spec,
            features=request.features.tolist(),
            labels=labels,
            decision=request.decision,
            weight=float(1 << request.halvings),
        )

    def _label(self, request: PendingRequest, task: int, watermark: int) -> int | None:
        if request.hits >> task & 1:
            return 1
        return 0 if watermark > request.ts + self._windows_ms[task] + self._lateness_ms else None

    def _apply(self, key: bytes, task: int, ts: int) -> None:
        raw = self.state[key]
        (hits, tasks, halvings), request_ts = status(raw), time_of(raw)
        if tasks != self._digest:
            self.counts.unknown_task += 1
        elif not request_ts < ts <= request_ts + self._windows_ms[task]:
            self.counts.late += 1
        elif hits >> task & 1:
            self.counts.duplicates += 1
        else:
            self.counts.joined += 1
            hits |= 1 << task
            self.state[key] = with_status(raw, hits, tasks, halvings)
            if self._closed(request_ts, task):
                self.counts.corrections += 1
                self._changed[key] = None
            elif hits == (1 << len(self.tasks)) - 1:
                self._changed[key] = None

    def _closed(self, request_ts: int, task: int) -> bool:
        watermark = self._time.watermark
        due = request_ts + self._windows_ms[task] + self._lateness_ms
        return watermark is not None and watermark > due

    def _drop_foreign(self, key: bytes, raw: bytes) -> None:
        del self.state[key]
        self.admission.release(_cost(key, raw), time_of(raw))
        self.foreign -= 1
        self.counts.expired += 1

    def _move_to(self, ts: int) -> None:
        if self._time.watermark is None:
            self._early.start(ts)
        self._time.observe(ts)

    def _recover(self) -> None:
        raw = self.state.get(PROGRESS_KEY)
        self._progress = Progress() if raw is None else Progress.from_bytes(raw)
        skew_ms = min(MAX_SKEW_MS, self._deadlines_ms[-1] // SKEW_PART)
        self._time = StreamTime(skew_ms, self._progress.watermark)
        newest = (0, 0)
        for key, value in list(self.state.items()):
            if key == PROGRESS_KEY:
                continue
            if value[:1] == HELD_KIND:
                self._early.recover(key, value, self.watermark)
                continue
            _, tasks, halvings = status(value)
            self.foreign += tasks != self._digest
            self.admission.hold(_cost(key, value), time_of(value))
            self._set_timer(key, value)
            newest = max(newest, (time_of(value), halvings))
        self.admission.halvings = newest[1]  # the share goes on as it was

    def _set_timer(self, key: bytes, raw: bytes) -> None:
        ts = time_of(raw)
        reached = ts if self.watermark is None else self.watermark
        if status(raw)[1] == self._digest:
            due = next((ts + d for d in self._deadlines_ms if ts + d >= reached), ts)
        else:
            due = ts + self._deadlines_ms[-1]
        self._timers.add(due, key)

    def _drop_stale_timers(self) -> None:
        """Requests that were final before their time leave a timer behind; not without bound."""
        if len(self._timers) > 2 * self.pending + STALE_TIMERS:
            self._timers = Timers(max(1, self._deadlines_ms[-1] // TIMER_BUCKETS))
            for key, raw in self.state.items():
                if raw[:1] == REQUEST_KIND and key != PROGRESS_KEY:
                    self._set_timer(key, raw)


def _cost(key: bytes, value: bytes) -> int:
    """Bytes of memory that a request takes; its value may change, but not in length."""
    return len(key) + len(value) + ENTRY_BYTES


def _checked(key: bytes, raw: bytes) -> bytes:
    if not key or key == PROGRESS_KEY or len(key) > MAX_JOIN_KEY_BYTES:
        raise RecordError(f"request_id: 1 to {MAX_JOIN_KEY_BYTES} bytes expected, {len(key)} found")
    key.decode()
    return raw
