"""Raw slices of JD's contest files (JData 2016) as requests with outcomes, for :mod:`.jd`.

A request is a user's click or browse in a new second, at least half an hour before the end of the
slice; its outcomes are the user's events on the same item within that half hour. Rows of a user are
correlated, so they must be split by user.
"""

import gzip
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.tasks import DEFAULT_TASKS, TaskSet
from trainer.traffic.jd import JdError, JdRequests, Tables

WINDOW_S: Final = 1800.0
ACTIONS: Final = "JData_Action_*.csv.gz"
SEEN: Final = (1, 6)
"""Types of events that show that an item was displayed: browse and click."""
SLICE_TASKS: Final = TaskSet(
    task.model_copy(update={"window_s": WINDOW_S}) for task in DEFAULT_TASKS
)
"""The default funnel, with windows that fit into a slice of hours."""


def is_slice(folder: Path) -> bool:
    """Whether the folder contains raw slices."""
    return folder.is_dir() and any(folder.glob(ACTIONS))


def load_slice(folder: Path) -> tuple[JdRequests, npt.NDArray[np.int64]]:
    """Load the requests of a slice, in order of time, and the user of each.

    Raises:
        JdError: If a file is missing.
    """
    actions = _csv(folder, "JData_Action_*").with_columns(
        user_id=pl.col("user_id").cast(pl.Float64).cast(pl.Int64), at=_milliseconds("time")
    )
    last = actions["at"].max()
    requests = (
        actions.filter(
            pl.col("type").is_in(SEEN) & (pl.col("at") + int(WINDOW_S) * 1000 <= pl.lit(last))
        )
        .unique(["user_id", "at"], keep="first", maintain_order=True)
        .select(
            pl.format("{}_{}", "user_id", "at").alias("reqId"),
            *("user_id", "sku_id", pl.col("at").alias("time"), pl.lit(1).alias("split_id")),
        )
    )
    events = actions.unique(maintain_order=True).select(
        pl.format("{}_{}", "user_id", "sku_id").alias("pair_id"),
        *(pl.col("at").alias("time"), "type", pl.col("cate"), pl.col("brand").alias("br")),
    )
    users = _csv(folder, "JData_User").select(
        *("user_id", "age", "sex", "user_lv_cd", _milliseconds("user_reg_tm"))
    )
    products = _csv(folder, "JData_Product").rename({"brand": "br"})
    comments = _csv(folder, "JData_Comment").with_columns(_milliseconds("dt"))
    tables = Tables(
        requests,
        users.with_columns(pl.col("user_id").cast(pl.Int64)),
        products.select("sku_id", "a1", "a2", "a3", "cate", "br"),
        comments.select("dt", "sku_id", "comment_num", "has_bad_comment", "bad_comment_rate"),
        events,
    )
    user_N = requests.sort("time", "reqId")["user_id"].to_numpy().astype(np.int64)
    return JdRequests(tables, SLICE_TASKS), user_N


def _csv(folder: Path, name: str) -> pl.DataFrame:
    found = sorted(folder.glob(f"{name}.csv.gz"))
    if not found:
        raise JdError(f"{folder}: {name}.csv.gz is missing")
    texts = [gzip.decompress(path.read_bytes()).decode("gb18030") for path in found]
    return pl.concat([pl.read_csv(text.encode(), infer_schema_length=None) for text in texts])


def _milliseconds(column: str) -> pl.Expr:
    """Milliseconds of dates, or dates and times, in Beijing; null if unreadable."""
    text = pl.col(column).cast(pl.String).str.slice(0, 19)
    padded = pl.when(text.str.len_chars() == 10).then(text + " 00:00:00").otherwise(text)
    at = padded.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
    return (at.dt.epoch("ms") - 8 * 3_600_000).alias(column)
