"""Replay: historical requests through the decision code of the worker.

The source is a topic between two timestamps, or files. Reading and scoring are stateless and run
side by side (`scoring`); deciding is one pass over the merged history (`merge`) for all arms. The
decisions are those of one worker that consumes these requests in publishing order, however many
processes score them, and however the source is cut.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

import orjson
import polars as pl

from models.artifact import ArtifactFiles
from models.data.request_files import is_file
from models.data.request_streams import printable
from models.errors import UserError
from models.features.path import Path, PathError
from models.settings import Settings
from stream.intercept.loaded_model import try_model
from stream.kafka.reader import TopicReader
from stream.kafka.times import parse_time_ms
from stream.policy.value.reward import RewardFunction
from stream.replay.arms import Arm, DecidingArm, check_arms, with_rewards
from stream.replay.checkpoint import (
    PROGRESS,
    Checkpoint,
    decide_again,
    hash_inputs,
    open_folder,
)
from stream.replay.deciding import Deciding
from stream.replay.folder import (
    BASE,
    REJECT_SCHEMA,
    REJECTS,
    SUMMARY,
    decision_schema,
    request_schema,
)
from stream.replay.labelling import find_outcomes, judge, write_labels
from stream.replay.lanes import PIECE_BYTES, Lane, file_lanes
from stream.replay.logged import BLOCK, PASS
from stream.replay.merge import LaneMark, LanePosition, Merge
from stream.replay.on_ray import OnRay
from stream.replay.scoring import ScoringPlan
from stream.replay.stages import InProcesses, InThisProcess, ScoringStage
from stream.replay.tables import ROWS_PER_PART, TableWriter
from stream.replay.topics import TopicLane, topic_lanes

#: Rejected records of a replay that are listed in its folder.
LISTED_REJECTS: Final = 100_000
_PROGRESS_S: Final = 0.5


class ReplayError(UserError, ValueError):
    """A replay whose options are wrong; the message names the option's value and the fix."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is.

    Attributes:
        requests: Requests decided.
        done: Share of the source that is read, 0 to 1.
        per_second: Requests decided per second by this process.
        left_s: Estimated seconds left; None before there is an estimate.
    """

    requests: int
    done: float
    per_second: float
    left_s: float | None


@dataclass(frozen=True)
class ReplayOptions:
    """Options of `weir replay`.

    Attributes:
        source: Files of requests (a path, a glob, a URL), or names of topics between commas.
        out: Folder for tables and summary: new, or of an unfinished replay of the same inputs.
        outcomes: Path of a file, or name of a topic, with outcomes; None to evaluate nothing.
        as_of: Moment up to which outcomes are complete, ISO 8601 or epoch ms; None for the latest
            moment of requests and outcomes.
        start: First time to include, ISO 8601 or epoch ms.
        end: First time to exclude.
        chunk_size: Requests that are scored and decided at a time; decisions do not depend on it.
        against: Arms to compare with that of the settings.
        rewards: Rewards of one's own, by name of the arm that values requests by them.
        by: Paths in the request whose values the requests' table keeps.
        processes: Processes that read and score; decisions do not depend on it.
        ray: Address of the Ray cluster that they run on, see :class:`stream.replay.on_ray.OnRay`;
            None for processes of this machine.
        piece_bytes: Bytes of a file that are read at a time.
        rows_per_part: Rows of a part of the tables.
    """

    source: str
    out: FilePath
    outcomes: str | None = None
    start: str | None = None
    end: str | None = None
    chunk_size: int = 1000
    against: Sequence[Arm] = ()
    rewards: Mapping[str, RewardFunction] = field(default_factory=dict)
    by: Sequence[str] = ()
    processes: int = 1
    ray: str | None = None
    piece_bytes: int = PIECE_BYTES
    rows_per_part: int = ROWS_PER_PART
    as_of: str | None = None


OnProgress = Callable[[Progress], None]


async def run_replay(
    settings: Settings, options: ReplayOptions, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """Replay a source and write the folder that :class:`ReplayFolder` reads.

    Args:
        settings: Brokers, policy, artifact of the arm ``base``.
        options: Source, outcomes, arms and output folder.
        on_progress: Called every half second.

    Returns:
        The summary.

    Raises:
        ReplayError: If nothing lies between the times, or there is no request.
        TimeError: If a time cannot be read.
        ArmError: If the arms cannot be compared.
        RequestFileError: If a file cannot be read.
        ReplayFolderError: If the output folder is in use.
        TopicError: If there is no such topic.
        ArtifactError: If an artifact cannot serve.
        ScoringStageError: If there are no processes to score in, or they ended.
    """
    arms = with_rewards([Arm(BASE, settings), *options.against], options.rewards)
    check_arms(arms)
    _check_paths(options.by)
    span = _span(options)
    as_of_ms = parse_time_ms(options.as_of)
    async with AsyncExitStack() as stack:
        topic: list[TopicLane] = []
        if is_file(options.source):
            lanes: Sequence[Lane] = file_lanes(options.source, options.piece_bytes)
        else:
            for name in options.source.split(","):
                reader = TopicReader(settings.kafka, name.strip(), keep=True)
                await stack.enter_async_context(reader)
                topic += await topic_lanes(reader, _verdict_of(settings, reader.topic), span[0])
            lanes = topic
        run = _Run(settings, options, arms, lanes, span)
        for lane in topic:
            lane.set_end(run.checkpoint.ends)
        outcomes = None
        if options.outcomes is not None:
            outcomes = await find_outcomes(settings, options.outcomes)
        summary = await run.decide(on_progress)
    if outcomes is not None and run.parts:
        tasks = settings.task_set
        summary["outcomes"] = write_labels(options.out, run.parts, outcomes, tasks, as_of_ms)
        for name, of_arm in summary["per_arm"].items():
            of_arm["tasks"] = judge(options.out, run.parts, name, tasks)
        summary["tasks"] = summary["per_arm"][BASE]["tasks"]
    write_summary(options.out / SUMMARY, summary)
    (options.out / PROGRESS).unlink()
    return summary


class _Run:
    """One run of a replay: its models, its arms and its folder.

    Args:
        settings: Settings of the arm ``base``.
        options: The options.
        arms: All arms, ``base`` first.
        lanes: The source.
        span: First time to include and first to exclude, in ms.

    Attributes:
        checkpoint: Where it goes on.
        parts: Parts of its tables.
    """

    parts = 0

    def __init__(
        self,
        settings: Settings,
        options: ReplayOptions,
        arms: Sequence[Arm],
        lanes: Sequence[Lane],
        span: tuple[int | None, int | None],
    ) -> None:
        self._options = options
        self._lanes = lanes
        self._span = span
        files, numbers = _models(arms)
        self._arms = [
            DecidingArm(arm, number, files[number])
            for arm, number in zip(arms, numbers, strict=True)
        ]
        self._numbers = numbers
        paths = {arm.settings.policy.scenario_path for arm in arms} - {""}
        self._plan = ScoringPlan(
            tuple(files),
            settings.worker.score_threads,
            settings.worker.score_batch,
            settings.worker.max_value_bytes,
            options.chunk_size,
            next(iter(paths), ""),
            tuple(options.by),
        )
        inputs = {
            "arms": [[arm.name, arm.settings.policy.model_dump(mode="json")] for arm in arms],
            "tasks": [task.model_dump(mode="json") for task in settings.task_set],
            "models": [[file.manifest_sha256 for file in files], numbers],
            "lanes": [[lane.name, lane.fingerprint] for lane in lanes],
            "options": [span, [*options.by], options.piece_bytes, options.rows_per_part],
            "max_value_bytes": settings.worker.max_value_bytes,
        }
        self.checkpoint = open_folder(options.out, hash_inputs(inputs))

    async def decide(self, on_progress: OnProgress | None) -> dict[str, Any]:
        """Decide everything that is not decided yet; returns the summary."""
        options, checkpoint = self._options, self.checkpoint
        schemas = {arm.name: decision_schema(arm.tasks) for arm in self._arms}
        writer = TableWriter(
            options.out, request_schema(options.by), schemas,
            parts=checkpoint.parts, rows_per_part=options.rows_per_part,
        )  # fmt: skip
        writer.remove_after(checkpoint.parts)
        pairs = list(zip(self._arms, self._numbers, strict=True))
        decide_again(options.out, checkpoint.parts, pairs)
        positions = checkpoint.lanes or [LanePosition(LaneMark()) for _ in self._lanes]
        ends = {lane.name: lane.end for lane in self._lanes if isinstance(lane, TopicLane)}
        with _stage(self._plan, options) as stage:
            merge = Merge(self._lanes, stage, self._span, positions)

            def on_part(given: Sequence[int]) -> None:
                lanes = merge.positions(given)
                Checkpoint(checkpoint.inputs, writer.parts, ends, lanes).write(options.out)

            on_part([position.given for position in positions])
            given = [position.given for position in positions]
            report = _reporter(merge, sum(given), on_progress)
            deciding = Deciding(
                merge, self._arms, writer, options.chunk_size, given, on_part, report
            )
            await deciding.run()
        self.parts = writer.parts
        return self._summary(merge, deciding.requests)

    def _summary(self, merge: Merge, decided: int) -> dict[str, Any]:
        options = self._options
        readers = merge.readers
        records = sum(reader.counted for reader in readers)
        if not records:
            _remove(options.out)
            raise ReplayError(_nothing(options, self._lanes))
        codes = sum((reader.codes for reader in readers), Counter())
        listed = [reject for reader in readers for reject in reader.rejects][:LISTED_REJECTS]
        if listed:
            frame = pl.DataFrame(listed, schema=dict(REJECT_SCHEMA), orient="row")
            with (options.out / REJECTS).open("wb") as file:
                frame.write_parquet(file)
        base, *_ = self._arms
        of_base = base.summary()
        return {
            "source": printable(options.source),
            "complete": True,
            "requests": records,
            "decided": decided,
            "rejected": sum(codes.values()),
            "rejects": dict(sorted(codes.items())),
            "refused_headers": sum(reader.refused_headers for reader in readers),
            "from_ms": min((r.first_ms for r in readers if r.first_ms is not None), default=None),
            "to_ms": max((r.last_ms for r in readers if r.last_ms is not None), default=None),
            "arms": [arm.name for arm in self._arms],
            "task_names": [*base.tasks],
            "by": [*options.by],
            **of_base,
            "per_arm": {arm.name: arm.summary() for arm in self._arms},
        }


def _models(arms: Sequence[Arm]) -> tuple[list[ArtifactFiles], list[int]]:
    """The artifacts of the arms, each tried once, and the number of each arm's."""
    files: list[ArtifactFiles] = []
    numbers, known = [], {}
    for arm in arms:
        url = arm.settings.model.artifact
        if url not in known:
            tried = try_model(url, arm.settings.task_set, arm.settings)
            same = [
                n for n, each in enumerate(files) if each.manifest_sha256 == tried.manifest_sha256
            ]
            if not same:
                files.append(tried)
            known[url] = same[0] if same else len(files) - 1
        numbers.append(known[url])
    return files, numbers


def _stage(plan: ScoringPlan, options: ReplayOptions) -> ScoringStage:
    """Where the pieces are scored."""
    if options.ray is not None:
        return OnRay(plan, options.ray, options.processes)
    return InThisProcess(plan) if options.processes == 1 else InProcesses(plan, options.processes)


def _reporter(
    merge: Merge, before: int, on_progress: OnProgress | None
) -> Callable[[Deciding], None]:
    """Reports progress every half second, with the rate of this process."""
    began = last = time.monotonic()

    def report(deciding: Deciding) -> None:
        nonlocal last
        now = time.monotonic()
        if on_progress is None or now - last < _PROGRESS_S:
            return
        last, done = now, merge.done
        per_second = (deciding.requests - before) / (now - began)
        known = merge.done_before < done
        left_s = (now - began) * (1 - done) / (done - merge.done_before) if known else None
        on_progress(Progress(deciding.requests, done, per_second, left_s))

    return report


def _verdict_of(settings: Settings, topic: str) -> str | None:
    """The verdict about all records of a topic, if it is one of Weir's."""
    return {settings.topics.passed: PASS, settings.topics.blocked: BLOCK}.get(topic)


def _check_paths(by: Sequence[str]) -> None:
    for path in by:
        try:
            Path.parse(path)
        except PathError as error:
            raise ReplayError(f"--by: {error}") from error


def _span(options: ReplayOptions) -> tuple[int | None, int | None]:
    start, end = parse_time_ms(options.start), parse_time_ms(options.end)
    if start is not None and end is not None and start >= end:
        raise ReplayError(
            f"--from {options.start} is not before --to {options.end}; nothing lies between them"
        )
    return start, end


def _nothing(options: ReplayOptions, lanes: Sequence[Lane]) -> str:
    where = f"{options.source}: no request"
    if options.start is not None:
        where += f" from {options.start} on"
    if options.end is not None:
        where += f" before {options.end}"
    if options.start is None and options.end is None:
        return f"{where} in {len(lanes)} files or partitions; nothing to decide"
    return f"{where}; change --from and --to, or leave them out"


def _remove(folder: FilePath) -> None:
    """Remove what a replay without requests made."""
    (folder / PROGRESS).unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()


def write_summary(path: FilePath, summary: dict[str, Any]) -> None:
    """Write ``summary`` as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
