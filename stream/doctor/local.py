"""Checks of what lies on this side: artifact, registry, compiled code, clock."""

from collections.abc import Iterator
from typing import Final

import fsspec

from models.artifact import ArtifactError, load_artifact
from models.features.scanner import NATIVE
from models.settings import Settings
from stream.doctor.facts import Facts
from stream.doctor.finding import Finding, fail, ok, warn

#: A clock that is wrong by more than this makes attribution windows wrong.
MAX_SKEW_S: Final = 5.0


def artifact(settings: Settings) -> Iterator[Finding]:
    """Whether the artifact to begin with can serve."""
    url = settings.model.artifact
    try:
        found = load_artifact(url)
    except ArtifactError as error:
        yield fail(
            "artifact",
            f"{error} ({error.code})",
            "until one is announced, workers fail open: everything passes",
        )
        return
    wanted = settings.task_set.names
    if found.tasks.names != wanted:
        yield fail(
            "artifact",
            f"{url} predicts {', '.join(found.tasks.names)}, the settings list {', '.join(wanted)}",
            "retrain it, or change [[tasks]]",
        )
    else:
        yield ok("artifact", f"{url}: version {found.manifest.version}")


def registry(settings: Settings) -> Iterator[Finding]:
    """Whether the registry can be reached."""
    url = settings.model.registry
    try:
        files, root = fsspec.core.url_to_fs(url)
        there = files.exists(root)
    except Exception as error:  # noqa: BLE001 - each file system has errors of its own
        yield fail(
            "registry",
            f"{url}: {type(error).__name__}: {error}",
            "correct model.registry, or its credentials; announced models cannot be loaded",
        )
        return
    if there:
        yield ok("registry", f"{url} can be reached")
    else:
        yield warn(
            "registry", f"{url} does not exist yet", "the first publication makes it; is it right?"
        )


def extraction(_settings: Settings) -> Iterator[Finding]:
    """Whether features are extracted by compiled code."""
    if NATIVE:
        yield ok("extraction", "features are extracted by compiled code")
    else:
        yield warn(
            "extraction",
            "features are extracted in Python, ten times slower",
            "install Weir where a C compiler is",
        )


def clock(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether this machine's clock is that of the brokers and producers, as far as can be told."""
    topic, newest = settings.topics.requests, facts.newest
    if newest is None:
        yield ok("clock", f"nothing on {topic} to compare this machine's clock with")
        return
    whose = "the broker's clock" if newest.by_broker else "its producer's clock"
    ahead_s = (newest.timestamp_ms - facts.now_ms) / 1000
    if ahead_s > MAX_SKEW_S:
        yield warn(
            "clock",
            f"the newest request on {topic} is {ahead_s:.1f} s ahead of this machine ({whose})",
            "set the clocks by NTP; attribution windows are measured with both",
        )
    else:
        yield ok(
            "clock", f"the newest request on {topic} is {max(0.0, -ahead_s):.1f} s old by {whose}"
        )
