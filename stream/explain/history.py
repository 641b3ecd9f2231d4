"""Threshold and debt at a request: all requests before it, decided again by the worker's code.

They depend on every request since the policy's state began. A replay of the source up to the
request gives them bit for bit where one worker with one model and unchanged settings decided the
source in its order, as one that reads one partition, or a replay, does. Where it gives another
threshold than the log, the history is another one, and the explanation says which parts are known
to be missing. Where the worker wrote a journal, its own history is repeated instead.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from models.artifact.registry import Registry
from models.data.request_files import is_file
from models.settings import Settings
from stream.explain.search import Found, Kind
from stream.intercept.loaded_model import LoadedModel
from stream.kafka.reader import TopicReader
from stream.messages import Reason
from stream.replay.arms import Arm, DecidingArm
from stream.replay.folder import BASE
from stream.replay.lanes import FileLane, Lane, file_lanes
from stream.replay.merge import Merge
from stream.replay.scoring import ScoringPlan
from stream.replay.stages import InThisProcess
from stream.replay.topics import topic_lanes
from stream.reproduce.moment import repeat_until

_CHUNK: Final = 1000


@dataclass(frozen=True, slots=True)
class Replayed:
    """The request as a replay of its history decides it.

    Attributes:
        requests: Number of requests of the source before it.
        rejected: Records that were read with them and are no bid requests.
        debt: Passes owed less passes given before it, in its scenario.
        passed: Whether it passes.
        reason: Label of the reason.
        e: Reward.
        threshold: Reward that was needed.
        propensity: Probability of the verdict.
        worker: The worker whose journal the history is; "" if it is the source in its order.
    """

    requests: int
    rejected: int
    debt: float
    passed: bool
    reason: str
    e: float
    threshold: float
    propensity: float
    worker: str = ""


async def repeat_live(settings: Settings, found: Found, scenario: str) -> Replayed | None:
    """The request as its worker decides it from its journal; None if no journal has it.

    Args:
        settings: Brokers, topics and registry.
        found: Its record on a topic of passes or blocks.
        scenario: Its scenario, whose debt is asked for.

    Raises:
        NotReproducibleError: If something that its worker's journal needs is missing.
    """
    header = found.record.headers[-1][1] or b""
    at = (found.record.partition, found.source_offset)
    moment = await repeat_until(settings, *at, header, scenario)
    if moment is None or moment.outcome.scored is None:
        return None
    made = moment.outcome.scored.decisions
    return Replayed(
        moment.requests,
        moment.rejected,
        moment.debt,
        bool(made.passed_N[0]),
        Reason(int(made.reason_N[0])).label,
        float(made.reward_N[0]),
        float(made.threshold_N[0]),
        float(made.propensity_N[0]),
        moment.worker,
    )


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
    files = Registry.of(settings.model).fetch_configured(model.scorer.artifact.url)
    arm = DecidingArm(Arm(BASE, settings), 0, files)
    worker = settings.worker
    plan = ScoringPlan(
        (files,), worker.score_threads, worker.score_batch, worker.max_value_bytes, _CHUNK,
        settings.policy.scenario_path,
    )  # fmt: skip
    decided = 0
    async with _lanes(settings, source) as lanes:
        with InThisProcess(plan) as stage:
            merge = Merge(lanes, stage)
            async for frame in merge.frames():
                at = _row_of(frame, found, lanes)
                before = frame if at is None else frame.head(at)
                if before.height:
                    arm.decide(before)
                    decided += before.height
                if at is not None:
                    rejected = sum(sum(reader.codes.values()) for reader in merge.readers)
                    return _decide(arm, frame.slice(at, 1), scenario, (decided, rejected))
    return None


def _decide(
    arm: DecidingArm, frame: pl.DataFrame, scenario: str, before: tuple[int, int]
) -> Replayed:
    debt = arm.policy.debt(scenario)
    made = arm.decide(frame).row(0, named=True)
    return Replayed(
        *before,
        debt,
        made["verdict"] == "pass",
        made["reason"],
        made["e"],
        made["threshold"],
        made["propensity"],
    )


@asynccontextmanager
async def _lanes(settings: Settings, source: str) -> AsyncIterator[list[Lane]]:
    if is_file(source):
        yield file_lanes(source)
        return
    async with TopicReader(settings.kafka, source, keep=True) as reader:
        yield [*await topic_lanes(reader, None, None)]


def _row_of(frame: pl.DataFrame, found: Found, lanes: list[Lane]) -> int | None:
    """The row of the found request among scored ones; None if it is not one of them."""
    lane = found.record.partition
    if found.kind in {Kind.REQUEST, Kind.DECIDED} and isinstance(lanes[0], FileLane):
        names = [Path(each.name).name for each in lanes]
        lane = names.index(found.record.topic)
    rows = (frame["partition"] == lane) & (frame["offset"] == found.source_offset)
    return rows.arg_max() if rows.any() else None


def source_of(settings: Settings, found: Found) -> str:
    """Where the history of a found record is: its own file or topic, or the topic of requests."""
    if found.kind in {Kind.PASSED, Kind.BLOCKED, Kind.REJECTED}:
        return settings.topics.requests
    return found.source or settings.topics.requests
