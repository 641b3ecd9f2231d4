"""A replay for notebooks and scripts: decisions and figures as polars frames."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from models.settings import Settings
from stream.policy.value.reward import RewardFunction
from stream.replay.folder import BASE, KEYS, ReplayFolder, ReplayFolderError, holds_files

BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay.

    Attributes:
        decisions: One row per bid request, in replay order: ``request_id``, ``partition``,
            ``offset``, ``timestamp`` (ms), ``verdict``, ``reason``, ``e``, ``threshold``,
            ``propensity``, ``score_<task>`` and ``uncertainty_<task>`` per task, ``model``.
        summary: Content of ``summary.json`` of ``weir replay``.
    """

    decisions: pl.DataFrame
    summary: dict[str, Any]


async def replay(
    settings: Settings,
    source: str | Path,
    *,
    outcomes: str | Path | None = None,
    start: str | None = None,
    end: str | None = None,
    reward: RewardFunction | None = None,
) -> Replayed:
    """Decide historical requests as a worker would, and return the decisions.

    The decisions are those that ``weir replay`` writes for the same arguments. They must fit in
    memory; for larger sources use :func:`replay_folder`.

    Args:
        settings: Policy, artifact, tasks, and brokers if the source is a topic.
        source: Files of requests (a path, a glob, an fsspec URL), or the name of a topic.
        outcomes: A .jsonl file, the name of a topic, or None.
        start: First moment, ISO 8601 or epoch milliseconds.
        end: First moment that is not replayed.
        reward: f as a function of t_NT (float32, each task on its own population) that returns one
            number per row, in place of the reward of the settings. Each must depend on its own row
            only.

    Raises:
        ReplayError: If source, outcomes or moments cannot be read.
        ArtifactError: If the artifact must not serve.
        PolicyError: If the reward returns anything but one number per row.
    """
    with tempfile.TemporaryDirectory(prefix="weir-replay-") as folder:
        written = await replay_folder(
            settings,
            source,
            Path(folder) / "decisions",
            rewards={} if reward is None else {BASE: reward},
            outcomes=outcomes,
            start=start,
            end=end,
        )
        return Replayed(written.decisions().collect(), written.summary())


async def replay_folder(
    settings: Settings,
    source: str | Path,
    out: str | Path,
    *,
    against: Mapping[str, Settings] | None = None,
    rewards: Mapping[str, RewardFunction] | None = None,
    outcomes: str | Path | None = None,
    start: str | None = None,
    end: str | None = None,
    as_of: str | None = None,
    by: Sequence[str] = (),
    processes: int = 1,
    ray: str | None = None,
) -> ReplayFolder:
    """Decide historical requests under one or more policies, and write what `weir replay` writes.

    Args:
        settings: Policy, artifact and tasks of the arm ``base``, and brokers.
        source: Files of requests (a path, a glob, an fsspec URL), or names of topics.
        out: Folder; new, or that of an unfinished replay of the same inputs, which goes on.
        against: Settings of other arms, by name.
        rewards: Functions of t_NT in place of the reward of the settings, by name of the arm; see
            :func:`replay`. Such a replay cannot go on where it stopped.
        outcomes: A .jsonl file, the name of a topic, or None.
        start: First moment, ISO 8601 or epoch milliseconds.
        end: First moment that is not replayed.
        as_of: Moment up to which outcomes are complete; None: the latest one in the data.
        by: Paths in the request whose values are kept, in columns ``by_<PATH>``.
        processes: Processes that read and score.
        ray: Address of a Ray cluster for them, "auto", or "local"; None for this machine.

    Returns:
        The folder, whose tables are read lazily.

    Raises:
        UserError: As :func:`replay`; the folder is in use; arms or rewards cannot be compared.
    """
    # `import weir` should not pay for the import of the Kafka client: half a second.
    from stream.replay.arms import Arm  # noqa: PLC0415
    from stream.replay.replay import ReplayOptions, run_replay  # noqa: PLC0415

    folder = Path(out)
    if rewards:
        _require_empty(folder)
    options = ReplayOptions(
        str(source),
        folder,
        outcomes=None if outcomes is None else str(outcomes),
        start=start,
        end=end,
        against=[Arm(name, others) for name, others in (against or {}).items()],
        rewards=rewards or {},
        as_of=as_of,
        by=by,
        processes=processes,
        ray=ray,
    )
    await run_replay(settings, options)
    return ReplayFolder(folder)


def _require_empty(folder: Path) -> None:
    if holds_files(folder):
        raise ReplayFolderError(
            f"{folder}: not empty; a replay with rewards of your own cannot go on where another "
            "one stopped, give a new folder"
        )


def decision_batches(
    folder: ReplayFolder, arm: str = BASE, rows: int = BATCH_ROWS
) -> Iterator[pl.DataFrame]:
    """The requests of a replay with an arm's decisions, in order, in bounded memory.

    Args:
        folder: The folder.
        arm: Name of the arm.
        rows: Rows of a frame, at most.

    Yields:
        Frames with the columns of :meth:`ReplayFolder.requests` and :meth:`ReplayFolder.decisions`.

    Raises:
        ReplayFolderError: If there is no such arm.
    """
    requests, decisions = folder.requests(), folder.decisions(arm).select(pl.exclude(list(KEYS)))
    total = requests.select(pl.len()).collect().item()
    for start in range(0, total, rows):
        yield pl.concat(
            [requests.slice(start, rows).collect(), decisions.slice(start, rows).collect()],
            how="horizontal",
        )
