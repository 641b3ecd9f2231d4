"""The lease of a store."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainer.store import lease as subject
from trainer.store.lease import LEASE_S, Lease, LostLeaseError


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease_of(
    store: Path | str, name: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, host: str = "h1"
) -> Lease:
    monkeypatch.setattr(subject.socket, "gethostname", lambda: host)
    return Lease(str(store), name, clock)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_second_trainer_is_refused_with_the_name_of_the_first(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    store = f"{scheme}{tmp_path}/new/store"
    first = lease_of(store, "trainer-a", clock, monkeypatch)
    second = lease_of(store, "trainer-b", clock, monkeypatch, host="h2")
    assert first.acquire() is None
    assert first.is_held
    holder = second.acquire()
    assert holder is not None
    assert str(holder).startswith("trainer-a (process ")
    assert str(holder).endswith("on h1)")
    assert not second.is_held


def test_an_expired_lease_is_taken_over_and_its_holder_stops(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renewed leases do not expire; one that is not renewed does, by the other's own clock."""
    first = lease_of(tmp_path, "a", clock, monkeypatch)
    second = lease_of(tmp_path, "b", clock, monkeypatch, host="h2")
    assert first.acquire() is None
    for _ in range(4):
        assert second.acquire() is not None
        clock.now += LEASE_S * 0.6
        first.renew()
    assert second.acquire() is not None
    clock.now += LEASE_S
    assert not first.is_held
    assert second.acquire() is None
    assert second.is_held
    with pytest.raises(LostLeaseError, match="taken over by b"):
        first.renew()
    first.release()
    second.renew()


def test_a_stopped_or_dead_holder_is_not_waited_for(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lease_of(tmp_path, "a", clock, monkeypatch)
    assert first.acquire() is None
    first.release()
    second = lease_of(tmp_path, "b", clock, monkeypatch, host="h2")
    assert second.acquire() is None  # the first has given it back
    other = Lease(str(tmp_path), "c", clock, alive=lambda _pid: False)
    content = json.loads((tmp_path / "lease.json").read_text())
    (tmp_path / "lease.json").write_text(json.dumps(content | {"pid": 4_000_000}))
    assert other.acquire() is None  # killed, and on the same host


def test_a_lease_that_cannot_be_renewed_ends(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer whose renewals fail stops writing in time, and goes on when they succeed again."""
    held = lease_of(tmp_path, "a", clock, monkeypatch)
    assert held.acquire() is None
    file = tmp_path / "lease.json"
    content = file.read_bytes()
    file.unlink()
    file.mkdir()
    clock.now += LEASE_S / 2
    with pytest.raises(OSError, match=r"lease\.json"):
        held.renew()
    assert held.is_held
    clock.now += LEASE_S / 2
    assert not held.is_held
    file.rmdir()
    file.write_bytes(content)
    held.renew()
    assert held.is_held


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"name": 1}', bytes(5_000)])
def test_a_damaged_lease_is_nobodys_after_its_time(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "lease.json").write_bytes(content)
    lease = lease_of(tmp_path, "a", clock, monkeypatch)
    assert lease.acquire() is not None
    clock.now += LEASE_S
    assert lease.acquire() is None
