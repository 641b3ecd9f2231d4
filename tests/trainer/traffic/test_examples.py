"""Example stores and request files made of traffic."""

from pathlib import Path

import numpy as np
import orjson
import polars as pl

from models.data.examples import example_schema, read_examples
from models.features import FeatureSpec
from models.tasks import DEFAULT_TASKS
from trainer.simulation.simulator import Simulator
from trainer.simulation.traffic import Traffic
from trainer.traffic.examples import write_examples, write_jd_examples, write_requests
from trainer.traffic.jd import JdRequests

SPEC = FeatureSpec.load("openrtb")


def test_a_simulated_store_holds_features_labels_and_truth(
    simulator: Simulator, traffic: Traffic, tmp_path: Path
) -> None:
    """The store has exactly the contract's columns, and says of each request what is true."""
    path = tmp_path / "made" / "examples.parquet"
    write_examples(simulator, 3000, path, SPEC, start=100)
    assert dict(pl.read_parquet_schema(path)) == example_schema(DEFAULT_TASKS, p_true=True)
    found = read_examples(path, SPEC, DEFAULT_TASKS)
    wanted = traffic[100:3100]
    assert pl.read_parquet(path)["request_id"].to_list() == wanted.ids
    assert found.p_true_NT is not None
    np.testing.assert_array_equal(found.p_true_NT, wanted.p_true)
    np.testing.assert_array_equal(found.labels_NT == 1, wanted.reached)
    np.testing.assert_array_equal(found.ts_N, wanted.timestamps)
    docs = [orjson.loads(value) for value in wanted.values]
    np.testing.assert_array_equal(found.features_NC, SPEC.extractor().extract(docs, found.ts_N))


def test_the_requests_are_written_one_per_line(
    simulator: Simulator, traffic: Traffic, tmp_path: Path
) -> None:
    """The file's lines are the requests' very bytes."""
    write_requests(simulator, 500, tmp_path / "requests.jsonl", start=20)
    assert (tmp_path / "requests.jsonl").read_bytes().splitlines() == traffic.values[20:520]


def test_the_jd_store_masks_labels_whose_window_the_data_do_not_cover(
    jd_folder: Path, tmp_path: Path
) -> None:
    """Split 1 is written with labels by window; immature ones are null, near the end only."""
    jd = JdRequests.load(jd_folder, DEFAULT_TASKS)
    path = tmp_path / "jd.parquet"
    assert write_jd_examples(jd, path, FeatureSpec.load("jd")) == 12_769
    frame = pl.read_parquet(path)
    assert frame["label_click"].sum() == 6634
    assert frame["label_deal"].sum() == 133
    masked = frame.filter(pl.col("label_deal").is_null())
    week_ms = 7 * 86_400_000
    assert masked["ts"].min() > jd.end_ms - week_ms
    assert 0 < len(masked) < 2000
    assert read_examples(path, FeatureSpec.load("jd"), DEFAULT_TASKS).p_true_NT is None
