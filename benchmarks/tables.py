"""Small tables: teacher and student of `weir train --csv` beside tuned LightGBM, on census income.

    PYTHONPATH=. python benchmarks/tables.py ROWS_CSV_GZ 3000 10000 30000

ROWS_CSV_GZ is the Census-Income (KDD) data without a header. Of each shuffle the last rows beyond
30,000 are the test; the first N are the table. LightGBM sees the raw columns and is tuned over 48
settings on the newest 15 % of the table, then fitted to all of it.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
from rich.progress import Progress
from sklearn.metrics import roc_auc_score

from models.artifact import load_artifact
from models.artifact.scorer import Scorer
from models.features import FeatureSpec
from models.tasks import Task, TaskSet
from trainer.evaluation.metrics import evaluate
from trainer.pipeline.csv_examples import write_csv_examples
from trainer.pipeline.train import train
from trainer.training.config import TrainConfig

COLUMNS = [
    "age", "class_of_worker", "industry", "occupation", "education", "wage_per_hour", "enrolled",
    "marital", "major_industry", "major_occupation", "race", "hispanic", "sex", "labor_union",
    "unemployment", "employment", "gains", "losses", "dividends", "tax_filer", "region", "state",
    "household", "summary", "weight", "msa", "reg", "within", "same_house", "sunbelt", "persons",
    "under_18", "father", "mother", "self", "citizenship", "business", "veterans_form",
    "veterans", "weeks", "year", "income",
]  # fmt: skip
NUMERIC = {
    "age": "linear = { low = 0, high = 90, buckets = 30 }",
    "wage_per_hour": "log = { low = 1, high = 10000, buckets = 16 }",
    "gains": "log = { low = 1, high = 100000, buckets = 24 }",
    "losses": "log = { low = 1, high = 5000, buckets = 12 }",
    "dividends": "log = { low = 1, high = 100000, buckets = 24 }",
    "persons": "linear = { low = 0, high = 6, buckets = 6 }",
    "weeks": "linear = { low = 0, high = 52, buckets = 26 }",
}
NO_FEATURES = ("weight", "income", "marital")
TASKS = TaskSet([Task(name="income", window_s=1), Task(name="never_married", window_s=1)])
TEST_FROM = 30_000
TUNED_ON = 0.15


def read(path: Path) -> pl.DataFrame:
    """The table with its two labels."""
    frame = pl.read_csv(path, has_header=False, infer_schema=False)
    frame.columns = COLUMNS
    frame = frame.select(pl.all().str.strip_chars())
    return frame.with_columns(
        label_income=(~pl.col("income").str.starts_with("-")).cast(pl.Int8),
        label_never_married=(pl.col("marital") == "Never married").cast(pl.Int8),
    )


def spec_of(frame: pl.DataFrame) -> FeatureSpec:
    """A feature per column: numeric in buckets, categories with two rows per value."""
    tables = []
    for name in COLUMNS:
        if name in NO_FEATURES:
            continue
        kind, size = "categorical", f"size = {max(8, 2 * frame[name].n_unique() + 2)}"
        if name in NUMERIC:
            kind, size = "numeric", NUMERIC[name]
        tables.append(f'[[feature]]\nname = "{name}"\nkind = "{kind}"\npath = "{name}"\n{size}\n')
    return FeatureSpec.parse("\n".join(tables), "census.toml")


def boosted_auc(frame: pl.DataFrame, table: np.ndarray, test: np.ndarray) -> float:
    """Test AUC of LightGBM for income, tuned."""
    names = [name for name in COLUMNS if name not in NO_FEATURES]
    values_NC = np.stack(
        [
            (
                frame[name].cast(pl.Float64)
                if name in NUMERIC
                else frame[name].cast(pl.Categorical).to_physical()
            )
            .to_numpy()
            .astype(float)
            for name in names
        ],
        axis=1,
    )
    categories = [column for column, name in enumerate(names) if name not in NUMERIC]
    labels_N = frame["label_income"].to_numpy()
    cut = round((1 - TUNED_ON) * len(table))
    best: tuple[float, Mapping[str, object], list[int], int] | None = None
    for leaves, least, share, split in product((4, 8, 16, 31), (10, 30, 100), (0.3, 0.7), (1, 0)):
        parameters: Mapping[str, object] = {
            "objective": "binary", "verbosity": -1, "num_threads": 1, "learning_rate": 0.05,
            "num_leaves": leaves, "min_data_in_leaf": least, "feature_fraction": share,
            "lambda_l2": 5.0,
        }  # fmt: skip
        categorical = categories if split else []
        older, newer = table[:cut], table[cut:]
        learned = lgb.Dataset(values_NC[older], labels_N[older], categorical_feature=categorical)
        validation = learned.create_valid(values_NC[newer], labels_N[newer])
        booster = lgb.train(
            dict(parameters), learned, 800, valid_sets=[validation],
            callbacks=[lgb.early_stopping(40, verbose=False)],
        )  # fmt: skip
        loss = booster.best_score["valid_0"]["binary_logloss"]
        if best is None or loss < best[0]:
            best = (loss, parameters, categorical, booster.best_iteration)
    assert best is not None
    _, parameters, categorical, rounds = best
    learned = lgb.Dataset(values_NC[table], labels_N[table], categorical_feature=categorical)
    booster = lgb.train(dict(parameters), learned, round(1.1 * rounds))
    return float(roc_auc_score(labels_N[test], booster.predict(values_NC[test])))


def main() -> None:
    """Print a row of figures per size and shuffle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, help="File of the table.")
    parser.add_argument("sizes", type=int, nargs="+", help="Numbers of rows to train on.")
    parser.add_argument("--seeds", type=int, default=3, help="Number of seeds.")
    options = parser.parse_args()
    frame = read(options.rows)
    spec = spec_of(frame)
    features = [name for name in COLUMNS if name not in NO_FEATURES]
    ids_NC = spec.extractor().extract(frame.select(features).to_dicts(), np.arange(len(frame)))
    labels_NT = frame.select("label_income", "label_never_married").to_numpy().astype(np.float32)
    for size, seed in product(options.sizes, range(options.seeds)):
        order_N = np.random.default_rng(seed).permutation(len(frame))
        table, test = order_N[:size], order_N[TEST_FROM:]
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            frame[table.tolist()].write_csv(folder / "table.csv")
            write_csv_examples(
                folder / "table.csv", folder / "rows.parquet", spec, TASKS, seed=seed, warn=print
            )
            manifest = train(
                [folder / "rows.parquet"], spec, folder / "artifact", TrainConfig(), seed,
                created=datetime.now(UTC), tasks=TASKS, progress=Progress(disable=True),
            )  # fmt: skip
            seconds = time.monotonic() - begun
            scores_NT, _ = Scorer(load_artifact(folder / "artifact")).score(ids_NC[test])
        student = evaluate(scores_NT, labels_NT[test], TASKS)["income"]
        print(
            f"{size} rows, seed {seed}: LightGBM {boosted_auc(frame, table, test):.4f}, student "
            f"{student.auc_roc:.4f}, ECE {student.ece:.4f}; held out: teacher "
            f"{manifest.metrics.teacher['income'].auc_roc:.4f}, student "
            f"{manifest.metrics.student['income'].auc_roc:.4f}; {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
