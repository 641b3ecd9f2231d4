from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.data.examples import (
    FINAL_MS,
    ExampleError,
    Examples,
    example_schema,
    read_examples,
    stream_examples,
)
from models.features import FeatureSpec
from models.tasks import Task, TaskSet

SPEC = FeatureSpec.parse(
    """
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 8

[[feature]]
name = "app"
kind = "categorical"
path = "app.id"
size = 8
""",
    "test",
)
TASKS = TaskSet(
    [Task(name="click", window_s=60), Task(name="online", population="click", window_s=60)]
)


def rows(count: int, **changes: Any) -> pl.DataFrame:
    row: dict[str, Any] = {
        "spec": SPEC.hash,
        "features": [1, 9],
        "label_click": 1,
        "label_online": 0,
        "model": "v1",
        "reason": "score",
        "e": 0.5,
        "threshold": None,
        "propensity": 1.0,
    }
    data = [{"request_id": f"r{n}", "ts": n} | row | changes for n in range(count)]
    return pl.DataFrame(data, schema=example_schema(TASKS))


def test_masked_labels_are_nan_and_populations_mask_targets(tmp_path: Path) -> None:
    """Null labels read as NaN; a target outside its population is masked, the label is kept."""
    labels = [(1, 1), (1, 0), (0, 0), (0, 1), (None, None), (None, 1), (1, None)]
    frames = [rows(1, label_click=click, label_online=online) for click, online in labels]
    pl.concat(frames).write_parquet(tmp_path / "a.parquet")
    examples = read_examples(tmp_path, SPEC, TASKS)
    nan = np.nan
    np.testing.assert_array_equal(
        examples.labels_NT,
        np.array([[1, 1], [1, 0], [0, 0], [0, 1], [nan, nan], [nan, 1], [1, nan]], np.float32),
    )
    np.testing.assert_array_equal(
        examples.targets(TASKS)[:, 1], np.array([1, 0, nan, nan, nan, nan, nan], np.float32)
    )
    assert examples.features_NC.dtype == np.int32
    np.testing.assert_array_equal(examples.features_NC, np.tile([1, 9], (7, 1)))
    assert examples.p_true_NT is None


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
def test_streaming_gives_the_same_rows(tmp_path: Path, piece: int) -> None:
    """Pieces of any size, joined, are the rows of all files in name order."""
    rows(7).write_parquet(tmp_path / "b.parquet")
    rows(4).write_parquet(tmp_path / "a.parquet")
    parts = list(stream_examples([tmp_path], SPEC, TASKS, rows=piece))
    assert max(len(part) for part in parts) <= piece
    joined = np.concatenate([part.ts_N for part in parts])
    np.testing.assert_array_equal(joined, [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(read_examples(tmp_path, SPEC, TASKS).ts_N, joined)


def test_true_probabilities_are_read_where_stored(tmp_path: Path) -> None:
    """The columns p_true_<task> become an array in task order."""
    frame = rows(2).with_columns(p_true_click=pl.lit(0.25), p_true_online=pl.lit(0.75))
    frame.write_parquet(tmp_path / "a.parquet")
    examples = read_examples(tmp_path / "a.parquet", SPEC, TASKS)
    np.testing.assert_array_equal(examples.p_true_NT, [[0.25, 0.75]] * 2)


def delayed(frame: pl.DataFrame, elapsed: int | None = 50, **delays: int | None) -> pl.DataFrame:
    columns = {"elapsed": elapsed, "delay_click": None, "delay_online": None} | delays
    return frame.with_columns(**{name: pl.lit(at, pl.Int64) for name, at in columns.items()})


def test_ages_and_delays_are_read_where_stored(tmp_path: Path) -> None:
    delayed(rows(2), 50, delay_click=7).write_parquet(tmp_path / "a.parquet")
    rows(1).write_parquet(tmp_path / "b.parquet")
    delayed(rows(1), None, delay_click=0).write_parquet(tmp_path / "c.parquet")

    examples = read_examples(tmp_path, SPEC, TASKS)

    assert examples.elapsed_N is not None
    assert examples.elapsed_N.tolist() == [50, 50, FINAL_MS, FINAL_MS]
    nan = np.nan
    np.testing.assert_array_equal(examples.delay_NT, [[7, nan], [7, nan], [nan, nan], [0, nan]])
    assert examples.take(np.array([0, 2])).elapsed.tolist() == [50, FINAL_MS]
    plain = read_examples(tmp_path / "b.parquet", SPEC, TASKS)
    assert plain.elapsed_N is None
    assert plain.elapsed.tolist() == [FINAL_MS]
    assert np.isnan(plain.delays).all()
    schema = example_schema(TASKS, delays=True)
    assert {name: schema[name] for name in ("elapsed", "delay_online")} == {
        "elapsed": pl.Int64(),
        "delay_online": pl.Int64(),
    }


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (rows(2).drop("label_online"), "label_online is missing"),
        (rows(2).with_columns(pl.col("ts").cast(pl.Float64)), "ts is Float64; Int64"),
        (rows(2, label_click=2), "label_click is 2"),
        (rows(2, spec="other"), "spec is 'other' in 2 rows"),
        (rows(2, spec=None), "spec is null"),
        (rows(2, features=[1]), r"features has \[1\] ids; 2"),
        (rows(2, features=[1, None]), "features contains null"),
        (rows(2, features=[1, 16]), "ids from 1 to 16"),
        (rows(2, features=[-1, 9]), "ids from -1 to 9"),
        (rows(2).with_columns(p_true_click=pl.lit(0.5)), "p_true_online is missing"),
        (delayed(rows(2), delay_online=-3), "delay_online is -3 ms"),
        (delayed(rows(2)).drop("delay_click"), "delay_click is missing"),
        (rows(0), "no examples"),
    ],
)
def test_errors_name_file_and_column(tmp_path: Path, frame: pl.DataFrame, message: str) -> None:
    """Whatever is wrong, the message says where and what."""
    path = tmp_path / "bad.parquet"
    frame.write_parquet(path)
    with pytest.raises(ExampleError, match=message) as caught:
        read_examples(path, SPEC, TASKS)
    assert "bad.parquet" in str(caught.value)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    """No file, an empty folder and a file that is not Parquet are three clear errors."""
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    (tmp_path / "empty").mkdir()
    for path, message in [
        (tmp_path / "nothing", "no such file"),
        (tmp_path / "empty", r"no \*.parquet files"),
        (tmp_path / "broken.parquet", "not a readable Parquet file"),
    ]:
        with pytest.raises(ExampleError, match=message):
            read_examples(path, SPEC, TASKS)


def test_rows_can_be_taken_in_any_order(tmp_path: Path) -> None:
    """Taking rows keeps every array aligned."""
    rows(5).write_parquet(tmp_path / "a.parquet")
    taken: Examples = read_examples(tmp_path, SPEC, TASKS).take(np.array([3, 1]))
    np.testing.assert_array_equal(taken.ts_N, [3, 1])
    assert len(taken) == len(taken.labels_NT) == len(taken.features_NC) == 2
