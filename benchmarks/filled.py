"""How much of the OpenRTB spec the requests of an exchange fill.

Run from the repository root, with request bodies beside it (``../shared/data/openrtb_prebid``):
``PYTHONPATH=. python benchmarks/filled.py``. A feature is filled where it is not missing; the
records have no timestamp. Groups are the sections of the spec file.
"""

import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from models.features import FeatureSpec

FILE = Path(__file__).parents[1].parent / "shared/data/openrtb_prebid/adapter_incoming.jsonl.gz"
_SECTION = re.compile(r"^# --- (.+?):? .*--$|^name = \"(\w+)\"$", re.MULTILINE)


def groups(spec: FeatureSpec) -> dict[str, list[str]]:
    """The names of features under each section of the spec's file."""
    found: dict[str, list[str]] = {}
    for section, name in _SECTION.findall(spec.text):
        if section:
            found[section.split(":")[0]] = []
        else:
            found[next(reversed(found))].append(name)
    return found


def requests(path: Path) -> Iterator[dict[str, Any]]:
    """The request bodies of the file that are bid requests."""
    with gzip.open(path) as lines:
        for line in lines:
            request = orjson.loads(line)["request"]
            if request.get("id") and request.get("imp"):
                yield request


def filled(spec: FeatureSpec, path: Path) -> dict[str, float]:
    """Mean share of filled features, overall and by group."""
    bodies = list(requests(path))
    ids_NC = spec.extractor().extract(bodies, np.full(len(bodies), -1))
    share = {
        feature.name: float(
            (ids_NC[:, feature.column : feature.column + feature.slots] != feature.offset)
            .any(axis=1)
            .mean()
        )
        for feature in spec.features
    }
    found = {"all": float(np.mean(list(share.values())))}
    for group, names in groups(spec).items():
        found[group] = float(np.mean([share[name] for name in names]))
    return found


def main() -> None:
    """Print the shares."""
    spec = FeatureSpec.load("openrtb")
    counts = {"all": len(spec.features)} | {g: len(names) for g, names in groups(spec).items()}
    for group, share in filled(spec, FILE).items():
        sys.stdout.write(f"{group:40s} {share * counts[group]:6.2f} of {counts[group]:3d}\n")


if __name__ == "__main__":
    main()
