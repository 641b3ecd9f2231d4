"""Checks of this machine: artifact, registry, compiled code, clock."""

from collections.abc import Iterator
from typing import Final

import fsspec

from models.artifact import ArtifactError
from models.artifact.registry import load_configured
from models.artifact.signature import KeyFileError
from models.features.scanner import NATIVE
from models.settings import Settings
from stream.doctor.facts import Facts
from stream.doctor.finding import Finding, fail, ok, warn

#: Clocks that differ by more than this make attribution windows wrong.
MAX_SKEW_S: Final = 5.0


def artifact(settings: Settings) -> Iterator[Finding]:
    """Whether the configured artifact can be loaded and fits the tasks."""
    url = settings.model.artifact
    try:
        found = load_configured(settings.model)
    except KeyFileError as error:
        yield fail("artifact", str(error), "correct model.public_key; workers do not start")
        return
    except ArtifactError as error:
        yield fail(
            "artifact",
            f"{error} ({error.code})",
            "correct model.artifact; until a model is announced, workers fail open and pass "
            "everything",
        )
        return
    wanted = settings.task_set.names
    if found.tasks.names != wanted:
        yield fail(
            "artifact",
            f"{url} predicts {', '.join(found.tasks.names)}, but the settings list "
            f"{', '.join(wanted)}",
            "train an artifact for these tasks, or change [[tasks]]",
        )
    else:
        yield ok("artifact", f"{url}: version {found.manifest.version}")


def registry(settings: Settings) -> Iterator[Finding]:
    """Whether the model registry can be reached."""
    url = settings.model.registry
    try:
        files, root = fsspec.core.url_to_fs(url)
        there = files.exists(root)
    except Exception as error:  # noqa: BLE001 - each file system has errors of its own
        yield fail(
            "registry",
            f"{url}: {type(error).__name__}: {error}",
            "correct model.registry or its credentials; until then no announced model is loaded",
        )
        return
    if there:
        yield ok("registry", f"{url} can be reached")
    else:
        yield warn(
            "registry",
            f"{url} does not exist yet",
            "the first published model creates it; check that model.registry is right",
        )


def extraction(_settings: Settings) -> Iterator[Finding]:
    """Whether the compiled feature extraction is installed."""
    if NATIVE:
        yield ok("extraction", "features are extracted by compiled code")
    else:
        yield warn(
            "extraction",
            "features are extracted in Python, which is ten times slower",
            "install Weir on a machine with a C compiler",
        )


def clock(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether this machine's clock agrees with the timestamp of the newest request."""
    topic, newest = settings.topics.requests, facts.newest
    if newest is None:
        yield ok("clock", f"{topic} has no record to compare this machine's clock with")
        return
    source = "the broker's clock" if newest.by_broker else "its producer's clock"
    ahead_s = (newest.timestamp_ms - facts.now_ms) / 1000
    if ahead_s > MAX_SKEW_S:
        yield warn(
            "clock",
            f"the newest request on {topic} is {ahead_s:.1f} s ahead of this machine ({source})",
            "synchronize the clocks with NTP; attribution windows depend on both",
        )
    else:
        yield ok(
            "clock", f"the newest request on {topic} is {max(0.0, -ahead_s):.1f} s old by {source}"
        )
