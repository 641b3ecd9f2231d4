"""The join of passed requests with their outcomes: pure, no I/O, one object per partition.

A label is 1 as soon as the task's event is known to have happened within its attribution window,
0 once the window has closed without it, and masked before that: it is never guessed. The window of
request `r` and task `t` closes when watermark > ts_r + window_t + lateness.

An example of a request is emitted when its first task matures, at every later maturity (tasks that
mature together share one example), and, rarely, when an event within its window arrives after that
window closed. The last example has no masked label; the request is removed with it. A request all
of whose events have happened is complete at once.

Memory is bounded by a budget: requests are sampled (`stream/feedback/sampling.py`); outcomes
without a request take a part of the budget, and the oldest are dropped first.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Final

from models.bounds import MAX_JOIN_KEY_BYTES, MAX_SKEW_MS, MAX_TASKS
from models.tasks import TaskSet
from stream.feedback.early_outcomes import EARLY_PART, EarlyOutcomes
from stream.feedback.join_counts import JoinCounts
from stream.feedback.pending import (
    HELD_KIND,
    PROGRESS_KEY,
    REQUEST_KIND,
    PendingRequest,
    Progress,
    event_time,
    status,
    tasks_digest,
    with_status,
)
from stream.feedback.sampling import RequestSampler
from stream.feedback.stream_time import StreamTime
from stream.feedback.timers import Timers
from stream.feedback.windows import AttributionWindows
from stream.messages import Outcome, RecordError, TrainingExample

MIN_HOLD_MS: Final = 60_000
#: Memory of a request besides its key and value: two objects, a slot of the table and its timer
#: (`python benchmarks/feedback_memory.py`).
ENTRY_BYTES: Final = 220
DEFAULT_BUDGET_BYTES: Final = 512 * 1024 * 1024
TIMER_BUCKETS: Final = 4096
#: One request advances stream time by at most this part of the longest window, so that a wrong
#: timestamp closes no window.
SKEW_PART: Final = 8
STALE_TIMERS: Final = 10_000


@dataclass(slots=True)
class FeedbackJoin:
    """Joins one partition.

    `add_request` and `add_outcome` take a record, `advance` lets time pass without records, `emit`
    returns the examples that are due; call `emit` after every chunk. Outcomes are held for their
    request for the lateness (one minute at least) of stream time.

    Args:
        tasks: Tasks to label, 32 at most.
        time_scale: Divides every attribution window.
        lateness_s: Time after the end of a window in which its outcomes may still arrive.
        state: Requests and held outcomes by request id. Existing entries are continued: after a
            restart pass the recovered mapping, whose entries were checked by
            `stream.feedback.pending.check_entry`. Requests that were stored for other tasks are
            kept until their last window closes, so that tasks which were changed by mistake can be
            changed back.
        budget_bytes: Maximum memory of requests and held outcomes.
        counts: Counters to continue.

    Attributes:
        sampler: Memory of the requests, and which new ones are kept.
        other_tasks: Pending requests that were stored for other tasks.
    """

    tasks: TaskSet
    time_scale: float
    lateness_s: float
    state: MutableMapping[bytes, bytes] = field(default_factory=dict)
    budget_bytes: int = DEFAULT_BUDGET_BYTES
    counts: JoinCounts = field(default_factory=JoinCounts)
    sampler: RequestSampler = field(init=False)
    other_tasks: int = field(default=0, init=False)
    _digest: int = field(init=False)
    _windows: AttributionWindows = field(init=False)
    _progress: Progress = field(init=False)
    _time: StreamTime = field(init=False)
    _timers: Timers = field(init=False)
    _early: EarlyOutcomes = field(init=False)
    _changed: dict[bytes, None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if len(self.tasks) > MAX_TASKS:
            raise ValueError(f"tasks: {len(self.tasks)} given; the join takes {MAX_TASKS} at most")
        self._digest = tasks_digest(self.tasks.names)
        self._windows = AttributionWindows(self.tasks, self.time_scale, self.lateness_s)
        hold_ms = self._windows.hold_ms
        self._timers = Timers(max(1, hold_ms // TIMER_BUCKETS))
        self.sampler = RequestSampler(int(self.budget_bytes * (1 - EARLY_PART)), hold_ms)
        self._early = EarlyOutcomes(
            self.state, self._digest, int(self.budget_bytes * EARLY_PART), self.counts
        )
        self._recover()

    @property
    def watermark(self) -> int | None:
        """Stream time in ms: the newest event time of a request; None before the first."""
        return self._time.watermark

    @property
    def pending(self) -> int:
        """Number of requests with labels that have not matured."""
        return len(self.state) - len(self._early) - (PROGRESS_KEY in self.state)

    @property
    def held_bytes(self) -> int:
        """Memory of pending requests and held outcomes."""
        return self.sampler.held_bytes + self._early.bytes

    def add_request(self, key: bytes, raw: bytes, now_ms: int) -> None:
        """Add a passed request.

        Args:
            key: Id of the request.
            raw: A `PendingRequest` in bytes.
            now_ms: The caller's clock. Requests more than ten minutes ahead of it are refused,
                because they would close windows too early.

        Raises:
            RecordError: If the key or the request is out of bounds; nothing is changed then.
        """
        request = PendingRequest.from_bytes(_checked(key, raw))
        self._time.limit_to_clock(now_ms)
        if request.ts > now_ms + MAX_SKEW_MS:
            self.counts.future_requests += 1
            return
        new = self._progress.advance(request.partition, request.offset, request.ts)
        if new:
            self._advance_to(request.ts)
        before = self.state.get(key)
        if not new or (before is not None and before[:1] != HELD_KIND):
            self.counts.repeated_requests += 1
            return
        if not self._sampled(key, raw, request.ts):
            return
        self.counts.requests += 1
        early = self._early.pop(key)
        self.state[key] = with_status(raw, 0, self._digest, self.sampler.halvings)
        self.sampler.hold(_cost(key, raw), request.ts)
        self._timers.add(request.ts + self._windows.first_ms, key)
        for task, ts in early:
            self._match(key, task, ts)

    def add_outcome(self, outcome: Outcome) -> None:
        """Add an outcome; outcomes may arrive in any order and any number of times.

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
            self._early.add(key, task, outcome.ts, self.watermark)
        else:
            self._match(key, task, outcome.ts)

    def advance(self, elapsed_ms: int) -> None:
        """Advance stream time with the clock; only while no record is waiting to be read."""
        self._time.advance(elapsed_ms)

    def emit(self) -> list[TrainingExample]:
        """The examples that are due, one per request; removes the requests that are complete."""
        watermark = self._time.watermark
        if watermark is None:
            return []
        changed, self._changed = self._changed, {}
        examples = []
        for key in dict.fromkeys(self._timers.fire(watermark)):
            example = self._mature(key, watermark)
            if example is not None:
                changed.pop(key, None)
                examples.append(example)
        for key in changed:
            raw = self.state.get(key, b"")
            if raw[:1] == REQUEST_KIND:
                examples.append(self._example(key, raw, watermark))
        self._early.expire(watermark - max(self._windows.lateness_ms, MIN_HOLD_MS))
        self._drop_stale_timers()
        self.sampler.adjust(watermark)
        self.counts.examples += len(examples)
        return examples

    def progress(self) -> bytes:
        """The entry for `PROGRESS_KEY`, to be stored after all changes, before the deletions."""
        self._progress.watermark = self._time.watermark
        return self._progress.to_bytes()

    def _sampled(self, key: bytes, raw: bytes, ts: int) -> bool:
        """Whether a new request is kept; counts the reason otherwise."""
        watermark = self._time.watermark or ts
        if ts + self._windows.hold_ms < watermark:
            self.counts.past_requests += 1
            return False
        size = _cost(key, raw)
        self.sampler.arrived(size, watermark)
        if not self.sampler.selects(key):
            self.counts.left_out_requests += 1
            return False
        if not self.sampler.has_room(size):
            self.counts.overflown_requests += 1
            return False
        return True

    def _mature(self, key: bytes, watermark: int) -> TrainingExample | None:
        """The example of a request whose timer fired; None if it was completed before."""
        raw = self.state.get(key, b"")
        if raw[:1] != REQUEST_KIND:
            return None
        if status(raw)[1] != self._digest:
            self._expire_unlabelled(key, raw)
            return None
        example = self._example(key, raw, watermark)
        if not example.mature:
            self._set_timer(key, raw, watermark)
        return example

    def _example(self, key: bytes, raw: bytes, watermark: int) -> TrainingExample:
        """The example with the labels known now; removes the request if no label is masked."""
        request = PendingRequest.from_bytes(raw)
        labels = {
            name: self._label(request, column, watermark)
            for column, name in enumerate(self.tasks.names)
        }
        if None not in labels.values():
            del self.state[key]
            self.sampler.release(_cost(key, raw), request.ts)
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
        return 0 if self._windows.closed(task, request.ts, watermark) else None

    def _match(self, key: bytes, task: int, ts: int) -> None:
        """Join an outcome with its pending request."""
        raw = self.state[key]
        (hits, tasks, halvings), request_ts = status(raw), event_time(raw)
        if tasks != self._digest:
            self.counts.unknown_task += 1
        elif not self._windows.contains(task, request_ts, ts):
            self.counts.late += 1
        elif hits >> task & 1:
            self.counts.duplicates += 1
        else:
            self.counts.joined += 1
            hits |= 1 << task
            self.state[key] = with_status(raw, hits, tasks, halvings)
            if self._windows.closed(task, request_ts, self._time.watermark):
                self.counts.corrections += 1
                self._changed[key] = None
            elif hits == (1 << len(self.tasks)) - 1:
                self._changed[key] = None

    def _expire_unlabelled(self, key: bytes, raw: bytes) -> None:
        """Remove a request that was stored for other tasks."""
        del self.state[key]
        self.sampler.release(_cost(key, raw), event_time(raw))
        self.other_tasks -= 1
        self.counts.expired += 1

    def _advance_to(self, ts: int) -> None:
        if self._time.watermark is None:
            self._early.start(ts)
        self._time.observe(ts)

    def _recover(self) -> None:
        """Rebuild timers, memory and stream time from the state."""
        raw = self.state.get(PROGRESS_KEY)
        self._progress = Progress() if raw is None else Progress.from_bytes(raw)
        skew_ms = min(MAX_SKEW_MS, self._windows.hold_ms // SKEW_PART)
        self._time = StreamTime(skew_ms, self._progress.watermark)
        newest = (0, 0)
        for key, value in list(self.state.items()):
            if key == PROGRESS_KEY:
                continue
            if value[:1] == HELD_KIND:
                self._early.recover(key, value, self.watermark)
                continue
            _, tasks, halvings = status(value)
            self.other_tasks += tasks != self._digest
            self.sampler.hold(_cost(key, value), event_time(value))
            self._set_timer(key, value, self.watermark)
            newest = max(newest, (event_time(value), halvings))
        self.sampler.halvings = newest[1]  # sampling goes on with the share of the newest request

    def _set_timer(self, key: bytes, raw: bytes, reached: int | None) -> None:
        """Set the timer for the next maturity of a request, not before `reached`."""
        ts = event_time(raw)
        if status(raw)[1] == self._digest:
            due = self._windows.next_maturity(ts, ts if reached is None else reached)
        else:
            due = ts + self._windows.hold_ms
        self._timers.add(ts if due is None else due, key)

    def _drop_stale_timers(self) -> None:
        """Bound the timers of requests that were completed before they fired."""
        if len(self._timers) > 2 * self.pending + STALE_TIMERS:
            self._timers = Timers(max(1, self._windows.hold_ms // TIMER_BUCKETS))
            for key, raw in self.state.items():
                if raw[:1] == REQUEST_KIND and key != PROGRESS_KEY:
                    self._set_timer(key, raw, self.watermark)


def _cost(key: bytes, value: bytes) -> int:
    """Memory of a request in bytes; updates of its value keep the length."""
    return len(key) + len(value) + ENTRY_BYTES


def _checked(key: bytes, raw: bytes) -> bytes:
    if not key or key == PROGRESS_KEY or len(key) > MAX_JOIN_KEY_BYTES:
        raise RecordError(f"request_id: 1 to {MAX_JOIN_KEY_BYTES} bytes expected, {len(key)} found")
    key.decode()
    return raw
