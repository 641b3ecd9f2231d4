"""The ledger survives restarts, and nobody gets a look for free."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.gates.ledger import FOLDER, Ledger, LedgerError
from trainer.gates.spending import spent_by

SERVING, OTHER = "a" * 64, "b" * 64


def test_trials_are_counted_across_restarts(tmp_path: Path) -> None:
    """Each new candidate is one more trial at its own level, in a new process too."""
    first = Ledger(str(tmp_path), SERVING)
    assert first.open("c1", "r1", 0.05)[0] == 1
    k, trial = Ledger(str(tmp_path), SERVING).open("c2", "r1", 0.05)
    assert (k, trial.alpha_k) == (2, spent_by(2, 0.05))


def test_the_same_trial_is_no_new_one(tmp_path: Path) -> None:
    """A rebuild that was killed after it looked looks at the same again; other rows are a look."""
    Ledger(str(tmp_path), SERVING).open("c1", "r1", 0.05)
    again = Ledger(str(tmp_path), SERVING)
    assert again.open("c1", "r1", 0.05)[0] == 1
    assert again.open("c1", "r2", 0.05)[0] == 2


def test_another_serving_model_counts_from_one(tmp_path: Path) -> None:
    """And the one before goes on where it was when it serves again."""
    for candidate in ("c1", "c2"):
        Ledger(str(tmp_path), SERVING).open(candidate, "r", 0.05)
    assert Ledger(str(tmp_path), OTHER).open("c3", "r", 0.05)[0] == 1
    assert Ledger(str(tmp_path), SERVING).open("c3", "r", 0.05)[0] == 3


def test_gates_without_data_are_remembered(tmp_path: Path) -> None:
    """How often a gate lacked data, before a trial."""
    ledger = Ledger(str(tmp_path), SERVING)
    for number, starved in enumerate((["auc-pr deal"], [], ["auc-pr deal", "reward"]), 1):
        k, _ = ledger.open(f"c{number}", "r", 0.05)
        ledger.close(k, starved)
    read = Ledger(str(tmp_path), SERVING)
    assert [read.starved("auc-pr deal", k) for k in (1, 2, 3, 4)] == [0, 1, 1, 2]
    assert read.starved("reward", 4) == 1


@given(st.lists(st.sampled_from([0.01, 0.05, 0.2]), min_size=1, max_size=30))
def test_no_more_than_alpha_is_spent(alphas: list[float]) -> None:
    """Whatever the limit is changed to, the total stays within the largest it ever was."""
    ledger = Ledger(f"memory://{len(alphas)}-{hash(tuple(alphas))}", SERVING)
    for number, alpha in enumerate(alphas):
        try:
            ledger.open(f"c{number}", "r", alpha)
        except LedgerError as error:
            assert "was lowered since" in str(error)
        assert sum(trial.alpha_k for trial in ledger.trials) <= max(alphas)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"serving": "x", "trials": [{}]}', b'{"serving": "%s"}' % b"a" * 64],
)
def test_a_damaged_ledger_is_never_an_empty_one(tmp_path: Path, content: bytes) -> None:
    """It is named, with what to do, and candidates are not counted from 1 again."""
    path = tmp_path / FOLDER / f"{SERVING}.json"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"trials/a{64}\.json: .*restore the file"):
        Ledger(str(tmp_path), SERVING)


def test_a_ledger_that_was_renamed_is_refused(tmp_path: Path) -> None:
    """It belongs to the model that it names."""
    Ledger(str(tmp_path), SERVING).open("c", "r", 0.05)
    (tmp_path / FOLDER / f"{SERVING}.json").rename(tmp_path / FOLDER / f"{OTHER}.json")
    with pytest.raises(LedgerError, match="copied or renamed"):
        Ledger(str(tmp_path), OTHER)
    with pytest.raises(LedgerError, match="not the sha256"):
        Ledger(str(tmp_path), "../x")
