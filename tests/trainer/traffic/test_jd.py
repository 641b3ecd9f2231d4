"""Real JD requests: what they say comes from before them, what becomes of them from after."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from models.features import FeatureSpec
from models.tasks import DEFAULT_TASKS, Task, TaskSet
from trainer.traffic.examples import extract
from trainer.traffic.jd import DAY_MS, JdError, JdRequests, Tables

NOW = 1_455_000_000_000
Event = tuple[str, int, int, int, int]


def tables(*events: Event) -> Tables:
    """One request for pair 1_2 at NOW, and these events (pair, time, type, cate, brand)."""
    names = ["pair_id", "time", "type", "cate", "br"]
    return Tables(
        requests=pl.DataFrame(
            {"reqId": ["r"], "user_id": 1, "sku_id": 2, "time": NOW, "split_id": 1}
        ),
        users=pl.DataFrame(
            {"user_id": [1], "age": "old", "sex": 1, "lv": 3, "reg": NOW - 10 * DAY_MS}
        ),
        products=pl.DataFrame({"sku_id": [2], "a1": 3, "a2": 1, "a3": 2, "cate": 8, "br": 30}),
        comments=pl.DataFrame(
            {
                "dt": [NOW - 5, NOW - 50, NOW],
                "sku_id": [2, 2, 2],
                "comment_num": [4, 1, 2],
                "has_bad": [1, 0, 0],
                "rate": [0.1, 0.2, 0.3],
            }
        ),
        actions=pl.DataFrame([*events], schema=names, orient="row"),
    )


def request(*events: Event) -> dict[str, Any]:
    doc: dict[str, Any] = orjson.loads(JdRequests(tables(*events), DEFAULT_TASKS).traffic.values[0])
    return doc


BEFORE: list[Event] = [
    ("1_2", NOW - 20 * DAY_MS, 6, 8, 30),
    ("1_9", NOW - 3 * DAY_MS, 2, 5, 31),
    ("1_9", NOW - 60_000, 6, 5, 31),
    ("4_2", NOW - 3000, 2, 8, 30),
    ("1_2", NOW - 2000, 1, 8, 30),
]


def test_a_request_tells_the_past_as_the_spec_counts_it() -> None:
    """Each field at its path, with the counts worked out by hand."""
    doc = request(*BEFORE)
    assert doc["user"]["ext"]["jd"] == {
        "age": "old",
        "sex": 1,
        "level": 3,
        "reg_days": 10,
        "prior_type": 1,
        "prior_sec": 2,
        "prior_events_30m": 2,
        "prior_clicks_1d": 1,
        "prior_pairs_1d": 2,
        "prior_carts_7d": 1,
        "prior_pair_events_30d": 2,
    }
    item = doc["imp"][0]["ext"]["jd"]
    assert (item["cate"], item["brand"], item["a1"], item["sku"]) == (8, 30, 3, "2")
    assert (item["comment_num"], item["has_bad_comment"], item["bad_comment_rate"]) == (4, 1, 0.1)
    assert (item["prior_sku_events_1d"], item["prior_sku_carts_7d"]) == (2, 1)


@pytest.mark.parametrize("delay_ms", [0, 1000, 86_400_000])
@pytest.mark.parametrize("kind", [1, 2, 4, 6])
def test_an_event_at_or_after_the_request_never_changes_it(delay_ms: int, kind: int) -> None:
    """No leakage: of user, item or pair, at the same second or later."""
    for pair in ("1_2", "1_9", "4_2"):
        assert request(*BEFORE, (pair, NOW + delay_ms, kind, 8, 30)) == request(*BEFORE)
        assert request(*BEFORE, (pair, NOW - 1000, kind, 8, 30)) != request(*BEFORE)


def test_outcomes_are_the_first_events_strictly_after_the_request() -> None:
    """An event in the request's own second is the request itself, not an outcome."""
    after = [
        ("1_2", NOW, 6, 8, 30),
        ("1_2", NOW + 9000, 6, 8, 30),
        ("1_2", NOW + 4000, 6, 8, 30),
        ("1_2", NOW + 90_000, 4, 8, 30),
        ("1_9", NOW + 1000, 2, 5, 31),
    ]
    traffic = JdRequests(tables(*BEFORE, *after), DEFAULT_TASKS).traffic
    assert traffic.reached[0].tolist() == [True, False, False, True]
    assert traffic.delays_s[0, [0, 3]].tolist() == [4.0, 90.0]


def test_labels_keep_to_their_windows() -> None:
    """Too late is 0; not yet known at the end of the data is null."""
    late = [("1_2", NOW + 1_801_000, 6, 8, 30), ("4_2", NOW + DAY_MS, 6, 8, 30)]
    labels = JdRequests(tables(*BEFORE, *late), DEFAULT_TASKS).labels()[0]
    assert labels[:3].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(labels[3])


def test_the_real_files_give_the_figures_published_with_them(jd_folder: Path) -> None:
    """13,916 requests in order of time; labels of 30 minutes, 1 day and 7 days as counted there."""
    jd = JdRequests.load(jd_folder, DEFAULT_TASKS)
    assert len(set(jd.traffic.ids)) == len(jd.traffic) == 13_916
    assert np.all(np.diff(jd.traffic.timestamps) >= 0)
    labelled = jd.split_N == 1
    assert not jd.traffic.reached[~labelled].any()
    delays_s = jd.traffic.delays_s[labelled]
    for seconds, counts in (
        (1800, [6634, 3820, 598, 40]),
        (86_400, [7088, 4585, 747, 81]),
        (7 * 86_400, [7695, 5545, 977, 133]),
    ):
        assert np.nansum(delays_s <= seconds, axis=0).tolist() == counts
    ids_NC = extract(FeatureSpec.load("jd").extractor(), jd.traffic.values, jd.traffic.timestamps)
    spec = FeatureSpec.load("jd")
    for feature in spec.features:
        assert len(np.unique(ids_NC[:, feature.column])) > 1, feature.name


def test_a_missing_file_or_column_is_named(tmp_path: Path) -> None:
    """The error says which file, or which column of which file."""
    with pytest.raises(JdError, match=r"flattenRequest_clean\.csv\.gz is missing"):
        JdRequests.load(tmp_path, DEFAULT_TASKS)
    (tmp_path / "flattenRequest_clean.csv").write_text("reqId,user_id,sku_id,time\n")
    with pytest.raises(JdError, match=r"flattenRequest_clean\.csv: column 'split_id' is missing"):
        JdRequests.load(tmp_path, DEFAULT_TASKS)


def test_a_task_that_no_event_means_is_refused() -> None:
    """Tasks must be among those that JD's event types tell."""
    with pytest.raises(JdError, match="'refund'"):
        JdRequests(tables(*BEFORE), TaskSet([Task(name="refund", window_s=1)]))
