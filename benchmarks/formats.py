"""What a model loses when the same requests are written in another form.

Run from the repository root: ``PYTHONPATH=. python benchmarks/formats.py [ARTIFACT]`` (default:
the one that ships). Simulated requests in the form of OpenRTB 2.6, none of which it was trained
on, are scored as they are and rewritten: values in their places of 2.5, sizes in ``format`` alone,
texts for lists and lists for texts, no time but the record's. Prints AUC-ROC of the first task.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from sklearn.metrics import roc_auc_score

from models.artifact import load_artifact
from models.artifact.scorer import Scorer
from trainer.simulation.fragments import PLACEMENTS
from trainer.simulation.simulator import Simulator
from trainer.traffic.examples import extract

SEED, START, COUNT = 1, 200_000, 60_000
Request = dict[str, Any]


def old_places(request: Request) -> None:
    """Move the fields that 2.5 has under ``ext`` or under other names."""
    regs, user, source = request["regs"], request["user"], request["source"]
    regs["ext"] = {name: regs.pop(name) for name in list(regs) if name != "coppa"}
    if "consent" in user:
        user["ext"]["consent"] = user.pop("consent")
    source["ext"] = {"schain": source.pop("schain")}
    if "kwarray" in user:
        user["keywords"] = ",".join(user.pop("kwarray"))
    if "dooh" in request:
        request["site"] = request.pop("dooh")
        request["site"]["cat"] = request["site"].pop("venuetype")
    video = request["imp"][0].get("video")
    if video:
        video["placement"] = PLACEMENTS[video.pop("plcmt")]


def formats(request: Request) -> None:
    """Remove sizes of banners and the version of native where they are redundant."""
    imp = request["imp"][0]
    for name in ("w", "h"):
        imp.get("banner", {}).pop(name, None)
    imp.get("native", {}).pop("ver", None)


def lists(request: Request) -> None:
    """Turn lists into texts, and texts into lists."""
    regs, user = request["regs"], request["user"]
    for holder, name in (
        *((request, name) for name in ("cur", "bcat", "badv")),
        *((request.get(kind, {}), "cat") for kind in ("site", "app")),
        *((each, "gpp_sid") for each in (regs, regs.get("ext", {}))),
    ):
        if name in holder:
            holder[name] = ",".join(map(str, holder[name]))
    if "keywords" in user:
        user["keywords"] = user["keywords"].split(",")


def no_time(request: Request) -> None:
    """Remove the request's own time."""
    del request["ext"]


REWRITES: dict[str, tuple[Callable[[Request], None], ...]] = {
    "OpenRTB 2.6": (),
    "places of 2.5": (old_places,),
    "formats": (formats,),
    "lists and texts": (lists,),
    "no time": (no_time,),
    "all of these": (old_places, formats, lists, no_time),
}


def rewritten(value: bytes, steps: tuple[Callable[[Request], None], ...]) -> bytes:
    """The request in another form."""
    request = orjson.loads(value)
    for step in steps:
        step(request)
    return orjson.dumps(request)


def measured(artifact_name: str, seed: int = SEED, count: int = COUNT) -> dict[str, float]:
    """AUC-ROC of the first task by form."""
    artifact = load_artifact(artifact_name)
    traffic = Simulator(seed).batch(START, count)
    new_N = np.array([b'"source":{"schain"' in value for value in traffic.values])
    values = [value for value, new in zip(traffic.values, new_N, strict=True) if new]
    label_N = traffic.reached[new_N, 0]
    times_N: npt.NDArray[np.int64] = traffic.timestamps[new_N]
    scorer, extractor = Scorer(artifact), artifact.spec.extractor()
    found = {}
    for name, steps in REWRITES.items():
        ids_NC = extract(extractor, [rewritten(value, steps) for value in values], times_N)
        found[name] = float(roc_auc_score(label_N, scorer.score(ids_NC)[0][:, 0]))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "artifact", nargs="?", default="pretrained:openrtb", help="Artifact to score."
    )
    for name, auc in measured(parser.parse_args().artifact).items():
        sys.stdout.write(f"{name:20s} {auc:.4f}\n")


if __name__ == "__main__":
    main()
