"""What served when, and what a rollback goes back to, by the announcements alone."""

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import Cause, ModelAnnouncement, ModelRole
from stream.messages.model_history import Announced, ModelHistory

NOW = 1_000


def announced(
    offset: int, version: str, ts: int, cause: str = "", previous: str | None = None
) -> Announced:
    announcement = ModelAnnouncement(
        version, f"registry/{version}", "0" * 64, ts, cause=cause, previous=previous
    )
    return Announced(announcement, 0, offset, ts)


def history(*versions: str) -> ModelHistory:
    """Announcements at 100, 200, ...; ``<v`` is a rollback to v from what served before it."""
    made: list[Announced] = []
    for number, text in enumerate(versions):
        back = text.startswith("<")
        made.append(
            announced(
                number,
                text.removeprefix("<"),
                100 * (number + 1),
                Cause.ROLLBACK if back else Cause.REBUILD,
                made[-1].version if back else None,
            )
        )
    return ModelHistory(made)


def every(_: ModelAnnouncement) -> bool:
    return True


def target(found: ModelHistory, unusable: str = "") -> str | None:
    goal = found.rollback_target(lambda announcement: announcement.version not in unusable.split())
    return goal and goal.version


def test_a_rollback_goes_to_the_version_before() -> None:
    """And a second one further back, not to the version that was rolled back from."""
    assert target(history()) is None
    assert target(history("a")) is None
    assert target(history("a", "a")) is None
    assert target(history("a", "b", "c")) == "b"
    assert target(history("a", "b", "c", "c")) == "b"
    assert target(history("a", "b", "c", "<b")) == "a"
    assert target(history("a", "b", "c", "<b", "<a")) is None


def test_a_version_that_is_announced_again_is_no_longer_at_fault() -> None:
    """Somebody promoted it, or a rebuild made it, after it had been rolled back from."""
    assert target(history("a", "b", "<a", "b", "c")) == "b"
    assert target(history("a", "b", "<a", "c")) == "a"


def test_what_no_worker_can_load_is_neither_serving_nor_a_target() -> None:
    """The newest usable one serves, and the newest usable one before it is the target."""
    found = history("a", "b", "c", "d")
    assert target(found, "d") == "b"
    assert target(found, "b c") == "a"
    assert target(found, "a b c d") is None
    newest = found.newest(lambda announcement: announcement.version in "ab")
    assert newest is not None
    assert newest.version == "b"


def test_the_announcement_in_force_at_a_time() -> None:
    """From its own time until the next one's."""
    found = history("a", "b", "a")
    times = (99, 100, 199, 200, 300, 10_000)
    versions = [one and (one.version, one.offset) for one in map(found.at, times)]
    assert versions == [None, ("a", 0), ("a", 0), ("b", 1), ("a", 2), ("a", 2)]
    assert [p.until for p in found.periods(NOW)] == [200, 300, None]
    one = found.of("a")
    assert one is not None
    assert one.offset == 2


def test_a_wrong_clock_moves_no_other_announcement() -> None:
    """A time in the far future or before the announcement before it is taken for unknown."""
    found = ModelHistory(
        [announced(0, "a", 100), announced(1, "b", 10**15), announced(2, "c", 300)]
    )
    assert [p.until for p in found.periods(NOW)] == [None, None, None]
    at = found.at(500)
    assert at is not None
    assert at.version == "c"
    before = found.at(250)
    assert before is not None
    assert before.version == "a"


versions = st.sampled_from("abcdef")


@given(
    st.lists(st.tuples(versions, st.integers(0, 1_200)), max_size=12),
    st.sets(versions),
    st.integers(0, NOW),
)
def test_what_served_within_a_time_is_in_use(
    made: list[tuple[str, int]], unusable: set[str], since: int
) -> None:
    """All that were in force at any moment since then, what serves, and what takes over."""
    found = ModelHistory([announced(i, version, ts) for i, (version, ts) in enumerate(made)])

    def usable(announcement: ModelAnnouncement) -> bool:
        return announcement.version not in unusable

    used = found.in_use_since(since, NOW, usable)
    stamps = [ts for _, ts in made]
    for moment in (since, *(ts for ts in stamps if since <= ts <= NOW)):
        in_force = found.at(moment)
        monotone = stamps == sorted(stamps)
        if in_force is not None and monotone:
            assert in_force.version in used
    serving = found.newest(usable)
    if serving is not None:
        assert serving.version in used
    if found.announced:
        assert found.announced[-1].version in used


@given(st.lists(versions, min_size=1, max_size=12), st.sets(versions))
def test_rollbacks_go_further_back_and_end(made: list[str], unusable: set[str]) -> None:
    """None of them returns to a version that was rolled back from, or that cannot be loaded."""
    found = history(*made)

    def usable(announcement: ModelAnnouncement) -> bool:
        return announcement.version not in unusable

    left: set[str] = set()
    while True:
        serving, goal = found.newest(usable), found.rollback_target(usable)
        if goal is None:
            break
        assert serving is not None
        left.add(serving.version)
        assert goal.version not in left | unusable
        offset = len(found.announced)
        back = announced(offset, goal.version, 100 * offset, Cause.ROLLBACK, serving.version)
        found = ModelHistory([*found.announced, back])
    reached = found.newest(usable)
    assert (reached is None) == (not set(made) - unusable)
    if reached is not None:
        assert left | {reached.version} == set(made) - unusable


def test_challengers_serve_nobody_but_are_in_use() -> None:
    """Neither the newest nor a target of a rollback; those in force then, or later, are in use."""
    rows = [announced(n, v, 100 * n) for n, v in enumerate(["a", "old", "b", "canary", "shadow"])]
    for at, role in ((1, ModelRole.CANARY), (3, ModelRole.CANARY), (4, ModelRole.SHADOW)):
        made = msgspec.structs.replace(rows[at].announcement, role=role)
        rows[at] = replace(rows[at], announcement=made)
    found = ModelHistory(rows)
    newest = found.newest(every)
    assert newest is not None
    assert newest.version == "b"
    assert target(found) == "a"
    assert found.in_use_since(250, NOW, every) == {"a", "b", "canary", "shadow"}
    assert found.in_use_since(50, NOW, every) == {"a", "b", "old", "canary", "shadow"}


def test_the_history_has_challengers_too() -> None:
    """One ends with the next of its role, or with the next version that is to serve."""
    rows = [announced(n, v, 100 * n) for n, v in enumerate("abcdef")]
    for at, role in ((1, ModelRole.CANARY), (2, ModelRole.SHADOW), (3, ModelRole.CANARY)):
        made = msgspec.structs.replace(rows[at].announcement, role=role)
        rows[at] = replace(rows[at], announcement=made)
    found = ModelHistory(rows)
    ends = {period.announced.version: period.until for period in found.timeline(NOW)}
    assert ends == {"a": 400, "b": 300, "c": 400, "d": 400, "e": 500, "f": None}
    in_force = [{one.version for one in found.in_force(ts)} for ts in (50, 150, 250, 350, 450)]
    assert in_force == [{"a"}, {"a", "b"}, {"a", "b", "c"}, {"a", "c", "d"}, {"e"}]
    assert found.in_force(-1) == []


@given(st.lists(st.tuples(versions, st.integers(0, 1_200)), max_size=12))
def test_without_challengers_the_timeline_is_that_of_what_serves(
    made: list[tuple[str, int]],
) -> None:
    """Whatever the times."""
    found = ModelHistory([announced(i, version, ts) for i, (version, ts) in enumerate(made)])
    assert list(found.timeline(NOW)) == list(found.periods(NOW))
    for ts in range(0, NOW, 250):
        assert found.in_force(ts) == [one for one in [found.at(ts)] if one]
