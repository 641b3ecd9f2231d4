from pathlib import Path

import numpy as np
import pytest

from models.data.examples import ExampleError
from tests.trainer.pipeline.test_csv_examples import read, table


def test_a_column_of_decimal_commas_is_an_error(tmp_path: Path) -> None:
    """A numeric column of which nothing can be read is no column of missing values."""
    path = table(tmp_path / "commas.csv", 50, age=[f"{age},5" for age in range(20, 70)])
    with pytest.raises(ExampleError, match=r"line 2: age is '20,5', .* nor any other .*points"):
        read(path)
    some = table(tmp_path / "some.csv", 50, age=[*map(str, range(20, 69)), "old"])
    warnings: list[str] = []
    read(some, warnings=warnings)
    assert len(warnings) == 1
    assert "line 51: age is 'old'" in warnings[0]
    assert "1 of 50 values" in warnings[0]


def test_times_that_follow_a_label_are_an_error(tmp_path: Path) -> None:
    """With times that sort the rows by a label, held-out metrics are impossible."""
    path = table(
        tmp_path / "sorted.csv", 1000, label_income=[1] * 200 + [0] * 800, ts=list(range(1000))
    )
    with pytest.raises(ExampleError, match=r"label_income is 0 in all of the newest 150 rows"):
        read(path)
    mixed = [1, 0, 0, 0] * 200 + [0, 1, 1, 1] * 50
    warnings: list[str] = []
    path = table(tmp_path / "drift.csv", 1000, label_income=mixed, ts=list(range(1000)))
    read(path, warnings=warnings)
    assert any("label_income is 1 in 75.3% of the newest 150 rows" in text for text in warnings)


@pytest.mark.parametrize(
    ("factor", "unit"), [(1, "seconds"), (1000, None), (10**6, "microseconds"), (10**9, "nano")]
)
def test_times_come_in_any_unit(factor: int, unit: str | None, tmp_path: Path) -> None:
    """Seconds, milliseconds, microseconds and nanoseconds since 1970 are told apart."""
    times = [(1_700_000_000 + row) * factor for row in range(100)]
    warnings: list[str] = []
    examples = read(table(tmp_path / "t.csv", 100, ts=times), warnings=warnings)
    np.testing.assert_array_equal(examples.ts_N, (1_700_000_000 + np.arange(100)) * 1000)
    assert [unit in text for text in warnings] == ([] if unit is None else [True])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([-5, *range(1, 100)], "line 2: ts is -5, before 1970"),
        ([1_700_000_000, *[1_700_000_000_000] * 99], "smallest looks like seconds"),
    ],
)
def test_times_that_cannot_be_are_errors(tmp_path: Path, times: list[int], message: str) -> None:
    """Times before 1970, or in two units, are no times."""
    with pytest.raises(ExampleError, match=message):
        read(table(tmp_path / "t.csv", 100, ts=times))


def test_a_column_that_never_changes_is_named(tmp_path: Path) -> None:
    """Nothing can be learned from it."""
    warnings: list[str] = []
    read(table(tmp_path / "t.csv", 30, education=["x"] * 30), warnings=warnings)
    assert ["same id in every row" in text and "education" in text for text in warnings] == [True]
