"""What `weir model gc` removes: nothing that serves, served lately, or may have to serve again."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from models.artifact.registry import Registry
from models.settings import Settings
from stream.messages import Cause, ModelAnnouncement, ModelRole
from stream.messages.model_history import Announced, ModelHistory
from stream.versions.catalog import Catalog
from stream.versions.retention import DAY_MS, Kept, plan
from tests.tiny_artifact import tiny_manifest

NOW_MS = 100 * DAY_MS
DUMMY = {"student.onnx": b"", "features.toml": b""}
NAMES = [f"v{number}" for number in range(8)]


def catalog(
    folder: str,
    created: dict[str, int],
    announced: list[tuple[str, int, bool, ModelRole]],
    broken: frozenset[str] = frozenset(),
    configured: str = "pretrained:openrtb",
) -> Catalog:
    """A registry with versions made on the given days, announced on the given days.

    Args:
        folder: Of the registry.
        created: Day on which each version was made.
        announced: Version, day, whether it was announced with a hash that it does not have, and
            its role.
        broken: Versions whose manifest is gone; they were announced, and are not there.
        configured: ``model.artifact``; a version, or a URL.
    """
    registry = Registry(folder)
    hashes = {}
    for version, day in created.items():
        made = datetime.fromtimestamp(day * DAY_MS / 1000, UTC).isoformat()
        manifest = tiny_manifest(DUMMY, version=version, created=made)
        (Path(folder) / version).mkdir()
        (Path(folder) / version / "manifest.json").write_bytes(manifest.to_bytes())
        hashes[version] = registry.manifest_sha256(f"{folder}/{version}")
        if version in broken:
            (Path(folder) / version / "manifest.json").unlink()
    history = [
        Announced(
            ModelAnnouncement(
                version,
                f"{folder}/{version}",
                "0" * 64 if wrong else hashes[version],
                day,
                role=role,
            ),
            0,
            offset,
            day * DAY_MS,
        )
        for offset, (version, day, wrong, role) in enumerate(announced)
        if version in hashes
    ]
    artifact = f"{folder}/{configured}" if configured in NAMES else configured
    settings = Settings().override({"model.registry": folder, "model.artifact": artifact})
    return Catalog(settings, registry, ModelHistory(history))


def fates(found: Catalog, keep: int = 1, days: float = 30) -> dict[str, Kept | None]:
    return {fate.version: fate.kept for fate in plan(found, keep, days, NOW_MS)}


def test_each_reason_to_keep(tmp_path: Path) -> None:
    """And an old version without any of them is removed."""
    created = {"v0": 1, "v1": 2, "v2": 3, "v3": 4, "v4": 5, "v5": 80, "v6": 6}
    days = {"v1": 10, "v2": 20, "v3": 60, "v4": 90}
    announced = [(version, day, False, ModelRole.SERVE) for version, day in days.items()]
    (tmp_path / "v7").mkdir()
    (tmp_path / "v7" / "manifest.json").write_text("{")
    found = catalog(str(tmp_path), created, announced, configured="v6")
    assert fates(found) == {
        "v7": Kept.UNREADABLE,
        "v0": None,
        "v1": None,
        "v2": Kept.SERVING,  # it would take over where v3 fails
        "v3": Kept.SERVING,  # until day 90
        "v4": Kept.SERVING,
        "v6": Kept.CONFIGURED,
        "v5": Kept.RECENT,
    }
    assert fates(found, keep=7)["v0"] is Kept.NEWEST
    assert fates(found, days=99.5)["v0"] is Kept.RECENT


def test_what_a_rollback_goes_back_to_is_kept(tmp_path: Path) -> None:
    """Also when it served long ago, because it was announced between two faulty ones."""
    created = dict.fromkeys(NAMES[:4], 1)
    found = catalog(str(tmp_path), created, [])
    announced = [
        Announced(
            ModelAnnouncement(
                version,
                f"{tmp_path}/{version}",
                Registry.manifest_sha256(f"{tmp_path}/{version}"),
                0,
                cause=cause,
                previous=previous,
            ),
            0,
            offset,
            (offset + 1) * DAY_MS,
        )
        for offset, (version, cause, previous) in enumerate(
            [
                ("v0", Cause.REBUILD, None),
                ("v1", Cause.REBUILD, "v0"),
                ("v2", Cause.REBUILD, "v1"),
                ("v1", Cause.ROLLBACK, "v2"),
            ]
        )
    ]
    found = Catalog(found.settings, found.registry, ModelHistory(announced))
    kept = fates(found)
    assert kept["v0"] is Kept.FALLBACK
    assert (kept["v1"], kept["v2"]) == (Kept.SERVING, Kept.SERVING)
    assert kept["v3"] is Kept.NEWEST


names = st.sampled_from(NAMES)
days = st.integers(0, 100)
roles = st.sampled_from([ModelRole.SERVE, ModelRole.SERVE, *ModelRole])


@given(
    created=st.dictionaries(names, days, max_size=8),
    announced=st.lists(st.tuples(names, days, st.booleans(), roles), max_size=10),
    broken=st.frozensets(names, max_size=3),
    configured=st.none() | names,
    keep=st.integers(0, 8),
    retention=st.integers(0, 100),
    sort=st.booleans(),
)
@example(  # a challenger of the configured artifact, ended within the retention
    created={"v0": 1, "v1": 2, "v2": 3},
    announced=[("v0", 10, False, ModelRole.CANARY), ("v1", 80, False, ModelRole.SERVE)],
    broken=frozenset(),
    configured=None,
    keep=1,
    retention=30,
    sort=True,
)
def test_nothing_in_use_is_removed(
    created: dict[str, int],
    announced: list[tuple[str, int, bool, ModelRole]],
    broken: frozenset[str],
    configured: str | None,
    keep: int,
    retention: int,
    sort: bool,
) -> None:
    """Whatever was announced when, with right or wrong hashes and clocks."""
    if sort:
        announced = sorted(announced, key=lambda one: one[1])
    with tempfile.TemporaryDirectory() as folder:
        found = catalog(folder, created, announced, broken, configured or "pretrained:openrtb")
        kept = fates(found, keep, retention)
        there = set(created) - broken
        assert set(kept) == there
        removed = {version for version, why in kept.items() if why is None}
        since = 100 - retention
        real = [one for one in announced if one[0] in created]
        serving = [one for one in real if one[3] is ModelRole.SERVE]
        usable = [one[0] for one in serving if not one[2] and one[0] in there]
        # what serves, what would take over where it fails, and what is configured
        protected = {usable[-1]} if usable else set()
        protected |= {configured} if configured else set()
        # made lately, or one of the newest
        protected |= {version for version in there if created[version] > since}
        protected |= set(sorted(there, key=lambda v: (created[v], v))[len(there) - keep :])
        # in force at any time since: announced then, or the last one announced before
        protected |= {one[0] for one in real if one[1] > since}
        if sort:
            before = [one for one in real if one[1] <= since]
            last = max((i for i, one in enumerate(before) if one[3] is ModelRole.SERVE), default=0)
            for role in ModelRole:
                protected |= {one[0] for one in [o for o in before[last:] if o[3] is role][-1:]}
        assert not removed & protected
        # and nothing is kept for ever
        old = there - protected - {one[0] for one in real}
        assert old <= removed
