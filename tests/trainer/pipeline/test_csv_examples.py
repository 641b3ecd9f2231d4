from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from models.artifact import load_artifact
from models.data.examples import ExampleError, Examples, read_examples
from models.features import FeatureSpec
from models.tasks import Task, TaskSet
from stream.cli.main import build_app
from trainer.pipeline.csv_examples import csv_examples, write_csv_examples

SPEC_TEXT = """
[[feature]]
name = "age"
kind = "numeric"
path = "age"
linear = { low = 20, high = 80, buckets = 12 }

[[feature]]
name = "education"
kind = "categorical"
path = "education"
size = 16

[[feature]]
name = "education at age"
kind = "cross"
of = ["age", "education"]
size = 64
"""
SPEC = FeatureSpec.parse(SPEC_TEXT, "census.toml")
SETTINGS = """
[[tasks]]
name = "income"
window_s = 1

[[tasks]]
name = "married"
population = "income"
window_s = 1
"""
TASKS = TaskSet(
    [Task(name="income", window_s=1), Task(name="married", population="income", window_s=1)]
)


def census(path: Path, rows: int = 3000) -> Path:
    """People whose age and schooling decide about income, and whose age decides about marriage."""
    rng = np.random.default_rng(5)
    age_N = rng.integers(18, 90, rows)
    school_N = rng.integers(0, 10, rows)
    income_N = rng.random(rows) < np.where(school_N > 5, 0.7, 0.1)
    married_N = rng.random(rows) < np.where(age_N > 40, 0.8, 0.2)
    pl.DataFrame(
        {
            "age": [f" {age}" for age in age_N],
            "education": [f"school {number}" if number else "" for number in school_N],
            "note": "not a feature",
            "label_income": income_N.astype(int),
            "label_married": ["true" if married else "false" for married in married_N],
        }
    ).write_csv(path)
    return path


def no_warning(message: str) -> None:
    pytest.fail(f"unexpected warning: {message}")


def read(path: Path, seed: int = 0, warnings: list[str] | None = None) -> Examples:
    warn = no_warning if warnings is None else warnings.append
    return csv_examples(path, SPEC, TASKS, seed=seed, warn=warn)


def table(path: Path, rows: int, **columns: object) -> Path:
    """A sound table of so many rows, with some columns replaced; None leaves one out."""
    rng = np.random.default_rng(3)
    income_N = rng.random(rows) < 0.2
    sound = {
        "age": rng.integers(18, 90, rows),
        "education": [f"school {number}" for number in rng.integers(0, 9, rows)],
        "label_income": income_N.astype(int),
        "label_married": (rng.random(rows) < 0.5).astype(int),
    }
    kept = {name: column for name, column in (sound | columns).items() if column is not None}
    pl.DataFrame(kept).write_csv(path)
    return path


def test_census_like_data_becomes_an_artifact_by_spec_and_settings_alone(tmp_path: Path) -> None:
    """A CSV file, a spec and two tasks in the settings train a student that learned both."""
    (tmp_path / "census.toml").write_text(SPEC_TEXT)
    (tmp_path / "weir.toml").write_text(SETTINGS)
    source, out = census(tmp_path / "census.csv"), tmp_path / "artifact"
    options = ["--csv", str(source), "--spec", str(tmp_path / "census.toml"), "--out", str(out)]
    command = ["--config", str(tmp_path / "weir.toml"), "train", *options, "--quick"]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 0, result.output
    artifact = load_artifact(out)
    assert artifact.tasks == TASKS
    for name in TASKS.names:
        auc = artifact.manifest.metrics.student[name].auc_roc
        assert auc is not None
        assert auc > 0.7, name


def test_rows_become_examples(tmp_path: Path) -> None:
    """Values are stripped, empty ones are missing, labels may be unknown, time is the order."""
    path = tmp_path / "few.csv"
    path.write_text(
        "ts,age,education,label_income,label_married,p_true_income,p_true_married\n"
        "1,39, bachelor ,1,TRUE,0.5,0.25\n"
        "0,,,0,,0.75,1\n"
    )
    examples = read(path)
    wanted_NC = SPEC.extractor().extract([{}, {"age": 39, "education": "bachelor"}], np.arange(2))
    np.testing.assert_array_equal(examples.features_NC, wanted_NC)
    np.testing.assert_array_equal(examples.labels_NT, [[0, np.nan], [1, 1]])
    np.testing.assert_array_equal(examples.p_true_NT, [[0.75, 1], [0.5, 0.25]])
    assert examples.ts_N.tolist() == [0, 1]
    write_csv_examples(path, tmp_path / "few.parquet", SPEC, TASKS, seed=0, warn=no_warning)
    stored = read_examples(tmp_path / "few.parquet", SPEC, TASKS)
    for column in ("ts_N", "features_NC", "labels_NT", "propensity_N", "p_true_NT"):
        np.testing.assert_array_equal(getattr(stored, column), getattr(examples, column))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,educatoin,label_income,label_married\n1,a,1,1\n", "'education' is missing .*feature"),
        (
            "age,education,label_income\n1,a,1\n",
            "'label_married' is missing .*task 'married'.*\\[\\[tasks",
        ),
        ("age,education,label_income,label_married\n", "no rows"),
        ("age,education,label_income,label_married\n1,a,1,1\n2,b,>50K,0\n", "line 3: label_income"),
        ("age,education,label_income,label_married\n1,a,1,1\n2,b,1,0,9\n", "line 3: 5 fields"),
        ("age,education,label_income,label_married\n1,a,1,1\n2,b,1\n", "line 3: 3 fields"),
        ("ts,age,education,label_income,label_married\nnow,1,a,1,1\n", "line 2: ts is 'now'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    """An error names the file, and the column or line that is wrong."""
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ExampleError, match=rf"bad\.csv.*{message}"):
        read(path)
    path.unlink()
    with pytest.raises(ExampleError, match=r"bad\.csv: the file does not exist"):
        read(path)


def test_a_table_without_times_is_shuffled_by_the_seed(tmp_path: Path) -> None:
    """Rows sorted by a label leave no held-out slice of one class."""
    sorted_by_label = [1] * 200 + [0] * 800
    path = table(tmp_path / "sorted.csv", 1000, label_income=sorted_by_label)
    one, same, other = (read(path, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.labels_NT, same.labels_NT)
    assert (one.labels_NT != other.labels_NT).any()
    for examples in (one, other):
        assert 0.1 < examples.labels_NT[-150:, 0].mean() < 0.3
        assert examples.labels_NT[:, 0].sum() == 200


@pytest.mark.parametrize("marker", ["", "?", "NA", "n/a", "NaN", "NULL", "none"])
def test_null_markers_are_missing(marker: str, tmp_path: Path) -> None:
    """What other programs write for a missing value is missing, in features and labels."""
    path = table(tmp_path / "t.csv", 2, ts=[0, 1], age=[marker, "39"], label_income=["1", marker])
    examples = read(path)
    wanted_NC = SPEC.extractor().extract([{}, {"age": 39}], np.arange(2))
    np.testing.assert_array_equal(examples.features_NC[:, 0], wanted_NC[:, 0])
    assert np.isnan(examples.labels_NT[:, 0]).tolist() == [False, True]


def test_columns_may_be_separated_otherwise(tmp_path: Path) -> None:
    """Semicolons and tabs are found in the header."""
    plain = read(table(tmp_path / "plain.csv", 20))
    for name, separator in (("semi", ";"), ("tab", "\t")):
        path = tmp_path / f"{name}.csv"
        pl.read_csv(tmp_path / "plain.csv").write_csv(path, separator=separator)
        np.testing.assert_array_equal(read(path).features_NC, plain.features_NC)
