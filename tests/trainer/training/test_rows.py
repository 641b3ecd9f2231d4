from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from rich.progress import Progress

from models.data.examples import ExampleError, example_schema, read_examples
from models.features import FeatureSpec
from models.tasks import Task, TaskSet
from trainer.training.delay.maturity import FINAL, Uses
from trainer.training.rows import TrainingRows, lay_out

SPEC = FeatureSpec.parse(
    """
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 50

[[feature]]
name = "app"
kind = "categorical"
path = "app.id"
size = 40
""",
    "test",
)
TASKS = TaskSet(
    [Task(name="click", window_s=60), Task(name="online", population="click", window_s=60)]
)


def frame(rows: int, seed: int) -> pl.DataFrame:
    """Rows with equal times, and with one, both or no label."""
    rng = np.random.default_rng(seed)
    ids_NC = rng.integers(0, 40, (rows, 2)) + np.array([0, 50])
    labels_NT = rng.choice([0, 1, np.nan], (rows, 2))
    return pl.DataFrame(
        {
            "request_id": [f"r{n}" for n in range(rows)],
            "ts": rng.integers(0, rows // 3 + 1, rows),
            "spec": [SPEC.hash] * rows,
            "features": ids_NC.tolist(),
            "label_click": pl.Series(labels_NT[:, 0]).fill_nan(None).cast(pl.Int8),
            "label_online": pl.Series(labels_NT[:, 1]).fill_nan(None).cast(pl.Int8),
            "model": "",
            "reason": "score",
            "e": None,
            "threshold": None,
            "propensity": 1.0,
        },
        schema=example_schema(TASKS),
    )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    for number, rows in enumerate((300, 1, 500)):
        frame(rows, number).write_parquet(tmp_path / "store" / f"part-{number}.parquet")
    frame(90, 9).write_parquet(tmp_path / "pool.parquet")
    return tmp_path


def laid_out(folder: Path, name: str = "rows", uses: Uses = FINAL) -> TrainingRows:
    (folder / name).mkdir()
    return lay_out(
        folder / "store",
        folder / "pool.parquet",
        SPEC,
        TASKS,
        held_out=0.2,
        folder=folder / name,
        progress=Progress(disable=True),
        uses=uses,
    )


def test_rows_on_disk_are_those_that_memory_would_hold(stored: Path) -> None:
    """Every part has the rows, order, labels and targets of a split in memory."""
    read = read_examples(stored / "store", SPEC, TASKS)
    pool = read_examples(stored / "pool.parquet", SPEC, TASKS)
    known_N = ~np.isnan(read.labels_NT).all(axis=1)
    order_K = np.flatnonzero(known_N)
    order_K = order_K[np.argsort(read.ts_N[order_K], kind="stable")]
    cut = len(order_K) - round(0.2 * len(order_K))
    older, newest = read.take(order_K[:cut]), read.take(order_K[cut:])
    rows = laid_out(stored)
    for found, wanted in ((rows.held_out_rows, newest), (rows.labelled_rows, older)):
        np.testing.assert_array_equal(found.ids_KC.numpy(), wanted.features_NC)
        np.testing.assert_array_equal(found.labels_KT.numpy(), wanted.labels_NT)
        np.testing.assert_array_equal(found.targets_KT.numpy(), wanted.targets(TASKS))
    rest = rows.all_rows.slice(rows.held_out + rows.labelled, len(rows.all_rows))
    np.testing.assert_array_equal(
        rest.ids_KC.numpy(), np.concatenate([read.features_NC[~known_N], pool.features_NC])
    )
    assert rest.targets_KT.isnan().all()
    assert rest.labels_KT.isnan().all()
    assert rows.unlabelled == len(rest)
    assert (rows.ts_min, rows.ts_max) == (older.ts_N.min(), older.ts_N.max())
    assert rows.all_rows.ids_KC.dtype == torch.int16


def test_digests_tell_contents_apart(stored: Path) -> None:
    """The same rows have the same digests wherever they lie; one other label is another digest."""
    first = laid_out(stored, "a").digests
    assert laid_out(stored, "b").digests == first
    path = stored / "store" / "part-1.parquet"
    pl.read_parquet(path).with_columns(ts=pl.col("ts") + 1).write_parquet(path)
    changed = laid_out(stored, "c").digests
    assert changed["examples"] != first["examples"]
    assert changed["unlabelled"] == first["unlabelled"]


def test_an_empty_store_is_named(stored: Path) -> None:
    """Files without a row are an error that names the first of them."""
    for path in (stored / "store").iterdir():
        pl.read_parquet(path).clear().write_parquet(path)
    with pytest.raises(ExampleError, match=r"part-0\.parquet: it contains no examples"):
        laid_out(stored)


def test_weights_are_laid_out_with_their_rows(stored: Path) -> None:
    """A column `weight` goes where its row goes; files without it weigh one."""
    first = stored / "store" / "part-0.parquet"
    weighted = pl.read_parquet(first)
    rows = len(weighted)
    weighted.with_columns(weight=pl.Series(range(1, rows + 1), dtype=pl.Float64)).write_parquet(
        first
    )
    all_rows = laid_out(stored).all_rows
    read = read_examples(stored / "store", SPEC, TASKS)
    assert sorted(all_rows.weights_K.tolist()) == sorted([*read.weights.tolist(), *[1.0] * 90])
    by_row = dict(zip(map(tuple, read.features_NC.tolist()), read.weights.tolist(), strict=True))
    unique = [tuple(ids) for ids in all_rows.ids_KC.tolist()]
    counted = {ids: weight for ids, weight in by_row.items() if unique.count(ids) == 1}
    found = zip(unique, all_rows.weights_K.tolist(), strict=True)
    assert all(counted[ids] == weight for ids, weight in found if ids in counted)


def test_propensities_are_laid_out_with_their_rows(stored: Path) -> None:
    """Each goes where its row goes; rows of the pool have those that are stored."""
    first = stored / "store" / "part-0.parquet"
    read = pl.read_parquet(first)
    drawn = np.random.default_rng(0).uniform(0.01, 1.0, len(read))
    read.with_columns(propensity=pl.Series(drawn)).write_parquet(first)
    digests = laid_out(stored, "before").digests
    laid = laid_out(stored, "one")
    examples = read_examples(stored / "store", SPEC, TASKS)
    assert len(laid.propensities_N) == len(laid.all_rows)
    own = dict(zip(map(tuple, examples.features_NC.tolist()), examples.propensity_N, strict=True))
    ids = [tuple(each) for each in laid.all_rows.ids_KC.tolist()]
    unique = {each for each in ids if ids.count(each) == 1} & own.keys()
    assert len(unique) > 5
    for each, propensity in zip(ids, laid.propensities_N.tolist(), strict=True):
        if each in unique:
            assert propensity == own[each]
    read.with_columns(propensity=pl.Series(drawn / 2)).write_parquet(first)
    assert laid_out(stored, "two").digests["examples"] != digests["examples"]


def test_a_weight_below_one_is_refused_by_name(stored: Path) -> None:
    """No row stands for less than itself."""
    first = stored / "store" / "part-0.parquet"
    pl.read_parquet(first).with_columns(weight=pl.lit(0.5)).write_parquet(first)
    with pytest.raises(ExampleError, match=r"part-0\.parquet: weight is 0\.5"):
        laid_out(stored)


def in_order(frame: pl.DataFrame, first: int = 0) -> pl.DataFrame:
    """The rows one after the other, with times of their own."""
    return frame.with_columns(ts=first + pl.int_range(len(frame), dtype=pl.Int64))


def with_ages(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with ages: labels of rows younger than 100 ms are open, or positive already."""
    watermark = int(frame["ts"].max()) + 2  # type: ignore[arg-type]
    young = watermark - pl.col("ts") < 100
    labels = [pl.col(f"label_{name}") for name in TASKS.names]
    return frame.with_columns(
        *(
            pl.when(young & (label == 0)).then(None).otherwise(label).name.keep()
            for label in labels
        ),
        elapsed=watermark - pl.col("ts"),
        delay_click=pl.when(pl.col("label_click") == 1).then(pl.lit(1, pl.Int64)),
        delay_online=pl.when(pl.col("label_online") == 1).then(pl.lit(2, pl.Int64)),
    )


@pytest.fixture
def open_store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    with_ages(frame(900, 3)).write_parquet(tmp_path / "store" / "part.parquet")
    frame(90, 9).write_parquet(tmp_path / "pool.parquet")
    return tmp_path


def test_rows_with_open_labels_are_used_as_the_method_needs(open_store: Path) -> None:
    found = {uses: laid_out(open_store, uses, uses) for uses in ("final", "closed", "open")}

    labelled = {uses: rows.labelled for uses, rows in found.items()}
    assert labelled["final"] <= labelled["closed"] < labelled["open"]
    assert len({len(rows.all_rows) for rows in found.values()}) == 1
    for rows in found.values():
        np.testing.assert_array_equal(
            rows.held_out_rows.ids_KC, found["final"].held_out_rows.ids_KC
        )
        opened = rows.labelled_rows.opened
        assert opened is not None
        young_N = opened.elapsed_K < opened.closing_T.min()
        # What is not final is no label, even if the event has happened.
        assert rows.labelled_rows.labels_KT[young_N].isnan().all()
    opened = found["open"].labelled_rows.opened
    assert opened is not None
    young_N = opened.elapsed_K < opened.closing_T[0]
    assert set(opened.seen_KT[young_N, 0].tolist()) == {0.0, 1.0}


def test_held_out_rows_are_the_newest_final_ones(open_store: Path) -> None:
    rows = laid_out(open_store)

    held, rest = rows.held_out_rows.opened, rows.labelled_rows.opened
    assert held is not None
    assert rest is not None
    assert (held.elapsed_K >= held.closing_T.min()).all()
    assert held.elapsed_K.max() <= rest.elapsed_K.min()


def test_waiting_learns_what_a_store_of_final_labels_teaches(
    open_store: Path, tmp_path: Path
) -> None:
    """To the last bit: young rows, whatever happened on them, are neither learned nor held out."""
    waiting = laid_out(open_store)
    opened = waiting.all_rows.opened
    assert opened is not None
    stored_frame = pl.read_parquet(open_store / "store" / "part.parquet")
    read = read_examples(open_store / "store", SPEC, TASKS)
    stored_frame = stored_frame[np.lexsort((read.ids, read.ts_N))]
    final = stored_frame.filter(pl.col("elapsed") >= int(opened.closing_T.max()))
    assert 0 < len(final) < len(stored_frame)
    (tmp_path / "final" / "store").mkdir(parents=True)
    final.drop("elapsed", "delay_click", "delay_online").write_parquet(
        tmp_path / "final" / "store" / "part.parquet"
    )
    frame(90, 9).write_parquet(tmp_path / "final" / "pool.parquet")

    plain = laid_out(tmp_path / "final")

    assert plain.all_rows.opened is None
    assert (waiting.held_out, waiting.labelled) == (plain.held_out, plain.labelled)
    for part in ("held_out_rows", "labelled_rows"):
        for name in ("ids_KC", "labels_KT", "targets_KT", "weights_K"):
            np.testing.assert_array_equal(
                getattr(getattr(waiting, part), name), getattr(getattr(plain, part), name)
            )


def test_final_ages_change_nothing(stored: Path) -> None:
    paths = sorted((stored / "store").glob("*.parquet"))
    for number, path in enumerate(paths):
        in_order(pl.read_parquet(path), 1_000 * number).write_parquet(path)
    plain = laid_out(stored)
    for path in paths:
        stored_frame = pl.read_parquet(path)
        stored_frame.with_columns(
            elapsed=pl.lit(None, pl.Int64),
            delay_click=pl.lit(None, pl.Int64),
            delay_online=pl.lit(None, pl.Int64),
        ).write_parquet(path)

    found = laid_out(stored, "again", "open")

    assert (found.held_out, found.labelled) == (plain.held_out, plain.labelled)
    for name in ("ids_KC", "labels_KT", "targets_KT", "weights_K"):
        np.testing.assert_array_equal(getattr(found.all_rows, name), getattr(plain.all_rows, name))


def test_a_snapshot_has_no_order_of_its_own(tmp_path: Path) -> None:
    """Rows of one time in any order and in any number of files are laid out alike."""
    made = with_ages(frame(900, 3))
    mixed = made.sample(fraction=1.0, shuffle=True, seed=4)
    assert mixed["ts"].n_unique() < len(mixed)
    found = []
    for name, parts in (("one", [made]), ("other", [mixed[:200], mixed[200:]])):
        (tmp_path / name / "store").mkdir(parents=True)
        for number, part in enumerate(parts):
            part.write_parquet(tmp_path / name / "store" / f"part-{number}.parquet")
        frame(90, 9).write_parquet(tmp_path / name / "pool.parquet")
        found.append(laid_out(tmp_path / name, uses="open"))
    one, other = found
    assert (one.held_out, one.labelled) == (other.held_out, other.labelled)
    assert one.unlabelled > 90
    for field in ("ids_KC", "labels_KT", "targets_KT", "weights_K"):
        np.testing.assert_array_equal(getattr(one.all_rows, field), getattr(other.all_rows, field))
    opened, again = one.all_rows.opened, other.all_rows.opened
    assert opened is not None
    assert again is not None
    np.testing.assert_array_equal(opened.elapsed_K, again.elapsed_K)
