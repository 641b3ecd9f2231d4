"""Compare a reward of one's own with that of the settings on a log, and read the report as a frame.

Run: weir simulate --requests 1000 --jsonl var/requests.jsonl --examples var/examples.parquet
     python examples/record.py var/requests.jsonl var/examples.parquet var/log.jsonl
     python examples/compare.py var/log.jsonl var/outcomes.jsonl
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import weir


def deals_first(t_NT: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Only deals count, and carts a little: click, online, cart, deal are columns 0 to 3."""
    return t_NT[:, 3] + 0.05 * t_NT[:, 2]


async def compare(log: str, outcomes: str, out: Path) -> weir.ReplayFolder:
    """Decide the log under both rewards: arms ``base`` and ``deals``."""
    settings = weir.load_settings(flags={"policy.rate": 0.6})
    return await weir.replay_folder(
        settings,
        log,
        out,
        against={"deals": settings},
        rewards={"deals": deals_first},
        outcomes=outcomes,
        as_of="2099-01-01",  # simulated outcomes are complete
    )


def main(log: str, outcomes: str) -> None:
    """Print how many decisions differ, and what the log says about deals."""
    with tempfile.TemporaryDirectory() as folder:
        replayed = asyncio.run(compare(log, outcomes, Path(folder) / "replay"))
        requests = differ = 0
        batches = (weir.decision_batches(replayed, arm, rows=500) for arm in ("base", "deals"))
        for base, deals in zip(*batches, strict=True):  # a million requests take no more memory
            requests += base.height
            differ += int((base["verdict"] != deals["verdict"]).sum())
        print(f"{differ} of {requests} decisions differ")

        report = weir.build_report(replayed, weir.DEFAULT_TASKS)
        (comparison,) = report.comparisons
        print(f"{comparison.arm} against {comparison.base}: {comparison.verdict}")
        print(comparison.why)
        of_deals = (pl.col("task") == "deal") & pl.col("figure").str.starts_with(
            "comparisons.tasks"
        )
        figures = weir.report_frame(report).filter(of_deals, pl.col("method").is_null())
        for figure, number, text in figures.select("figure", "number", "text").iter_rows():
            print(f"{figure:>45}: {number if text is None else text}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 3 else sys.exit(__doc__)
