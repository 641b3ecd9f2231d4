"""A replay in memory: decisions as one polars frame, for notebooks and scripts."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from models.settings import Settings


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
) -> Replayed:
    """Decide historical requests as a worker would, and return the decisions.

    The decisions are those that ``weir replay`` writes for the same arguments. They must fit in
    memory; for larger sources run ``weir replay`` and scan its Parquet files.

    Args:
        settings: Policy, artifact, tasks, and brokers if the source is a topic.
        source: Files of requests (a path, a glob, an fsspec URL), or the name of a topic.
        outcomes: A .jsonl file, the name of a topic, or None.
        start: First moment of a topic, ISO 8601 or epoch milliseconds.
        end: First moment that is not replayed.

    Raises:
        ReplayError: If source, outcomes or moments cannot be read.
        ArtifactError: If the artifact must not serve.
    """
    # The Kafka client takes half a second to import, which `import weir` should not pay.
    from stream.replay.folder import ReplayFolder  # noqa: PLC0415
    from stream.replay.replay import ReplayOptions, run_replay  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="weir-replay-") as folder:
        out = Path(folder) / "decisions"
        options = ReplayOptions(
            str(source),
            out,
            outcomes=None if outcomes is None else str(outcomes),
            start=start,
            end=end,
        )
        summary = await run_replay(settings, options)
        return Replayed(ReplayFolder(out).decisions().collect(), summary)
