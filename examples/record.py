"""Record a log of simulated traffic: what a worker would have decided live, and what came of it.

Live logs are the topics of passed and blocked requests, and of outcomes. This writes the same to
two files, from simulated requests of which all labels are known: a policy that explores decides
them, and only what it passed gets outcomes.

Run: weir simulate --requests 1000 --jsonl var/requests.jsonl --examples var/examples.parquet
     python examples/record.py var/requests.jsonl var/examples.parquet var/log.jsonl
"""

import asyncio
import json
import sys
from pathlib import Path

import polars as pl

import weir

HEADER = ("model", "e", "threshold", "reason", "propensity", "offset")


def main(requests: str, examples: str, log: str) -> None:
    """Write the log and, beside it, ``outcomes.jsonl``."""
    settings = weir.load_settings(flags={"policy.rate": 0.6, "policy.explore": 0.2})
    decisions = asyncio.run(weir.replay(settings, requests)).decisions
    records = list(weir.read_requests(Path(requests)))
    with Path(log).open("w") as lines:
        for row in decisions.iter_rows(named=True):
            record = records[row["offset"]]
            header = json.dumps({name: row[name] for name in HEADER})
            envelope = {
                "value": (record.value or b"").decode(),
                "timestamp": record.timestamp,
                "headers": [["weir", header]],
            }
            lines.write(json.dumps(envelope) + "\n")

    passed = decisions.filter(pl.col("verdict") == "pass")
    labels = pl.read_parquet(examples).join(passed, on="request_id", how="semi")
    events = 0
    with Path(log).with_name("outcomes.jsonl").open("w") as lines:
        for task in weir.DEFAULT_TASKS.names:
            for request_id, ts in labels.filter(pl.col(f"label_{task}") == 1)[
                ["request_id", "ts"]
            ].iter_rows():
                outcome = {"request_id": request_id, "task": task, "ts": ts + 1000}
                lines.write(json.dumps(outcome) + "\n")
                events += 1
    print(f"{passed.height} of {decisions.height} requests passed, {events} events of these")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
