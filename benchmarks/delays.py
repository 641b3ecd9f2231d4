"""Learning before labels are final: the delay methods compared (docs/loop.md).

    python -m benchmarks.delays [--seeds 1 2 3] [--laws exponential lognormal bimodal]
        [--methods wait censoring oracle] [--per-day N] [--out F]
    python -m benchmarks.delays --jd FOLDER

Every finished combination of seed, law and method is a line of the file, and is not run again. The
table has, per law and task, the share of the log-loss gap between ``wait`` and ``oracle`` that a
method closes: the ratio of the mean differences over the seeds, and what the method gains over
``wait`` with its 95 % interval (Student's t over the seeds), in thousandths of a nat. With ``--jd``
the methods estimate the rates of JD.com's requests instead: mean over the snapshots of estimated
over true rate, and the root mean square of its logarithm.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.features import FeatureSpec
from models.tasks import DEFAULT_TASKS
from trainer.experiments.delay_laws import LAWS
from trainer.experiments.delays import METHODS, ORACLE, WAIT, DelayPlan, make_market, measure_delays
from trainer.experiments.delays_jd import jd_tasks, measure_jd
from trainer.experiments.report.stats import Estimate, paired
from trainer.traffic.jd import JdRequests
from trainer.training.config import DELAYS
from trainer.training.context import FitContext

Key = tuple[str, str]
"""Law and method."""
Found = dict[Key, dict[int, dict[str, float]]]
"""Expected log-loss by ``<requests>.<task>``, by seed."""


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--laws", nargs="+", default=list(LAWS), choices=list(LAWS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--per-day", type=int, default=DelayPlan().per_day)
    parser.add_argument("--out", type=Path, default=Path("var/delays.jsonl"))
    parser.add_argument("--jd", type=Path, help="folder of JD.com's requests")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.jd is not None:
        print(*jd_table(options.jd), sep="\n")
        return
    plan = replace(DelayPlan(), per_day=options.per_day)
    found = read(options.out, plan)
    for seed in options.seeds:
        todo = [
            (law, name)
            for law in options.laws
            for name in options.methods
            if seed not in found.get((law, name), {})
        ]
        if todo:
            run(seed, todo, plan, options.out)
    found = read(options.out, plan)
    for part in ("passed", "all"):
        print(*table(found, options.laws, options.methods, part), sep="\n")


def jd_table(folder: Path, window_s: float = 7 * 86_400) -> Iterable[str]:
    """Rows of a Markdown table."""
    jd = JdRequests.load(folder, jd_tasks(window_s))
    found = measure_jd(jd, tuple(DELAYS))
    yield "| JD.com, 7 days | " + " | ".join(jd.tasks.names) + " |"
    yield "| --- " * (1 + len(jd.tasks)) + "|"
    for name, ratios_ST in found.items():
        mean_T, error_T = ratios_ST.mean(axis=0), np.sqrt((np.log(ratios_ST) ** 2).mean(axis=0))
        cells = (f"{mean:.3f} ({error:.3f})" for mean, error in zip(mean_T, error_T, strict=True))
        yield f"| {name} | " + " | ".join(cells) + " |"


def run(seed: int, todo: list[Key], plan: DelayPlan, out: Path) -> None:
    """Run these laws and methods on the market of a seed; append every result."""
    context = FitContext(seed)
    market = make_market(FeatureSpec.load("openrtb"), plan, context)
    out.parent.mkdir(parents=True, exist_ok=True)
    for law, name in todo:
        losses = measure_delays(market, law, (name,), plan, context)[name]
        line = {"plan": repr(plan), "seed": seed, "law": law, "method": name, "losses": losses}
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read(path: Path, plan: DelayPlan) -> Found:
    """The results of this plan."""
    found: Found = {}
    lines = path.read_text().splitlines() if path.exists() else []
    for line in map(json.loads, lines):
        if line["plan"] == repr(plan):
            results = found.setdefault((line["law"], line["method"]), {})
            results[line["seed"]] = line["losses"]
    return found


def gain(found: Found, law: str, name: str, key: str) -> Estimate:
    """What a method's loss is below that of ``wait``, in thousandths of a nat."""
    wait, own = (
        {s: 1000 * losses[key] for s, losses in found[law, each].items()} for each in (WAIT, name)
    )
    return paired(wait, own)


def table(found: Found, laws: Iterable[str], methods: Iterable[str], part: str) -> Iterable[str]:
    """Rows of a Markdown table."""
    names = DEFAULT_TASKS.names
    yield f"\n| {part}: law | method | " + " | ".join(names) + " |"
    yield "| --- " * (2 + len(names)) + "|"
    for law in laws:
        for name in methods:
            if name == WAIT or (law, name) not in found:
                continue
            cells = []
            for task in names:
                key = f"{part}.{task}"
                own, gap = gain(found, law, name, key), gain(found, law, ORACLE, key)
                share = own.mean / gap.mean if gap.mean else float("nan")
                cells.append(f"{share:.2f} ({own.mean:+.2f} ± {own.half:.2f})")
            yield f"| {law} | {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
