"""Two versions side by side: metrics, tasks, configuration, features."""

import tomllib
from collections.abc import Iterator
from typing import Any

from models.artifact import ArtifactFiles, open_artifact
from models.artifact.manifest import Manifest
from models.features import FeatureSpec


def compare(one: ArtifactFiles, other: ArtifactFiles) -> dict[str, Any]:
    """What differs between two versions, from the first to the second.

    Returns:
        ``metrics``: per task and figure of the student, both values, whether they differ or not;
        ``manifest``: both values of every other leaf that differs, by its dotted name;
        ``features``: names of those that were added, removed and changed.

    Raises:
        ArtifactError: If one of them is no valid artifact.
    """
    specs = [open_artifact(files).spec for files in (one, other)]
    return {
        "versions": [one.manifest.version, other.manifest.version],
        "metrics": _metrics(one.manifest, other.manifest),
        "manifest": _differences(one.manifest, other.manifest),
        "features": _features(*specs),
    }


def _metrics(one: Manifest, other: Manifest) -> dict[str, dict[str, list[float | None]]]:
    tables = [manifest.metrics.student for manifest in (one, other)]
    tasks = dict.fromkeys([*tables[0], *tables[1]])
    found: dict[str, dict[str, list[float | None]]] = {}
    for task in tasks:
        figures = [table[task].model_dump() if task in table else {} for table in tables]
        names = dict.fromkeys([*figures[0], *figures[1]])
        found[task] = {name: [each.get(name) for each in figures] for name in names}
    return found


def _differences(one: Manifest, other: Manifest) -> dict[str, list[Any]]:
    left_out = {"files", "auto", "methods", "metrics", "version", "tasks"}
    leaves = []
    for manifest in (one, other):
        document = manifest.model_dump(mode="json", exclude=left_out)
        document["tasks"] = {
            task.name: task.model_dump(mode="json", exclude={"name"}) for task in manifest.tasks
        }
        document["tasks"]["order"] = list(manifest.task_set.names)
        leaves.append(dict(_leaves("", document)))
    names = dict.fromkeys([*leaves[0], *leaves[1]])
    pairs = {name: [found.get(name) for found in leaves] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield prefix, value


def _features(one: FeatureSpec, other: FeatureSpec) -> dict[str, list[str]]:
    mine, theirs = (
        {table["name"]: table for table in tomllib.loads(spec.text)["feature"]}
        for spec in (one, other)
    )
    return {
        "added": [name for name in theirs if name not in mine],
        "removed": [name for name in mine if name not in theirs],
        "changed": [name for name in mine if name in theirs and mine[name] != theirs[name]],
    }
