"""Replay the bid requests of a file under two rates, and compare the decisions as polars frames.

Run: weir simulate --requests 1000 --jsonl var/requests.jsonl
     python examples/replay.py var/requests.jsonl
"""

import asyncio
import sys

import polars as pl

import weir


def main(file: str) -> None:
    """Print what passes at the lower rate only, and what these requests look like."""
    passed = {}
    for rate in (0.6, 0.8):
        settings = weir.load_settings(flags={"policy.rate": rate})
        replayed = asyncio.run(weir.replay(settings, file))  # in a notebook: await weir.replay(...)
        print(f"rate {rate}: achieved {replayed.summary['achieved_rate']:.4f}")
        passed[rate] = replayed.decisions.filter(pl.col("verdict") == "pass")
    lost = passed[0.6].join(passed[0.8], on="request_id", how="anti")
    print(lost.select(pl.len(), pl.col("e").mean(), pl.col("score_click", "score_deal").mean()))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__))
