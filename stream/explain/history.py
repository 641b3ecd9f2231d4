"""Threshold and debt at a request: all requests before it, decided again by the worker's code.

They depend on every request since the policy's state began. A replay of the source up to the
request gives them bit for bit where one worker with one model and unchanged settings decided the
source in its order, as one that reads one partition, or a replay, does. Where it gives another
threshold than the log, the history is another one, and the explanation says which parts are known
to be missing.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.data.request_files import is_file, read_requests
from models.settings import Settings
from stream.explain.search import Found, Kind
from stream.intercept.interceptor import Interceptor
from stream.intercept.loaded_model import LoadedModel
from stream.intercept.metrics import NoMetrics
from stream.messages import REASON_LABELS
from stream.policy import Policy
from stream.replay.replay import merge_topic
from stream.transport import FetchedRecord

_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Replayed:
    """The request as a replay of its history decides it.

    Attributes:
        requests: Number of requests of the source before it.
        rejected: Records before it that are no bid requests.
        debt: Passes owed less passes given before it, in its scenario.
        passed: Whether it passes.
        reason: Label of the reason.
        e: Reward.
        threshold: Reward that was needed.
        propensity: Probability of the verdict.
        target_rate: Interception rate that was to be held.
    """

    requests: int
    rejected: int
    debt: float
    passed: bool
    reason: str
    e: float
    threshold: float
    propensity: float
    target_rate: float


async def replay_until(
    settings: Settings, model: LoadedModel, found: Found, scenario: str, source: str
) -> Replayed | None:
    """Decide a source again up to the request.

    Args:
        settings: Policy and brokers.
        model: Decides all of it.
        found: The request's record, or that of its decision.
        scenario: Its scenario, whose debt is asked for.
        source: A file, or the topic of the requests.

    Returns:
        None if the source does not contain the request.
    """
    policy = Policy(settings.policy, settings.task_set)
    limit = settings.worker.max_value_bytes
    interceptor = Interceptor(policy, NoMetrics(), max_value_bytes=limit)
    interceptor.model = model
    pending: list[FetchedRecord] = []
    decided = rejected = 0
    async for record in _history(settings, source):
        last = _is_it(record, found)
        if last or len(pending) == _CHUNK:
            if pending:
                result = interceptor.intercept(pending)
                decided += len(result.decided)
                rejected += len(result.rejected)
            pending = []
        if last:
            return _decide(interceptor, policy, record, scenario, (decided, rejected))
        pending.append(record)
    return None


def _decide(
    interceptor: Interceptor,
    policy: Policy,
    record: FetchedRecord,
    scenario: str,
    before: tuple[int, int],
) -> Replayed | None:
    debt = policy.debt(scenario)
    scored = interceptor.intercept([record]).scored
    if scored is None or not len(scored.decisions.passed_N):
        return None
    made = scored.decisions
    return Replayed(
        before[0],
        before[1],
        debt,
        bool(made.passed_N[0]),
        REASON_LABELS[int(made.reason_N[0])],
        float(made.reward_N[0]),
        float(made.threshold_N[0]),
        float(made.propensity_N[0]),
        float(made.target_rate_N[0]),
    )


async def _history(settings: Settings, source: str) -> AsyncIterator[FetchedRecord]:
    if is_file(source):
        for record in read_requests(Path(source)):
            yield record
        return
    async for record in merge_topic(settings.kafka, source):
        yield record


def _is_it(record: FetchedRecord, found: Found) -> bool:
    """Whether a record of the source is the request that was found."""
    if found.kind in {Kind.REQUEST, Kind.DECIDED}:
        wanted = (found.record.topic, found.record.partition, found.record.offset)
        return (record.topic, record.partition, record.offset) == wanted
    return (record.partition, record.offset) == (found.record.partition, found.source_offset)


def sources_of(finds_sources: Sequence[str], settings: Settings, found: Found) -> str:
    """Where the history of a found record is: its own file or topic, or the topic of requests."""
    if found.kind in {Kind.PASSED, Kind.BLOCKED, Kind.REJECTED}:
        return settings.topics.requests
    for source in finds_sources:
        if source == found.record.topic or Path(source).name == found.record.topic:
            return source
    return settings.topics.requests
