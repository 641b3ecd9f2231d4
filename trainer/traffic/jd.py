"""Real JD.com requests (JData 2016) as bid requests with their real outcomes.

Features are causal: counts and times in a request are those of events strictly before it. Category,
brand and attributes of an item are taken from the catalogue, or from any event on it, since they
never change in these data. Outcomes are events of the request's user-item pair strictly after it.
``models/features/specs/jd.toml`` has the path of each field.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from models.errors import UserError
from models.tasks import TaskSet
from trainer.simulation.arrivals import KNOWN
from trainer.simulation.traffic import Traffic

EVENT_TYPES: Final = {"click": 6, "online": 1, "cart": 2, "deal": 4}
"""Event type of each task."""
CLICK, CART = 6, 2
BEIJING_MINUTES: Final = 480
MINUTE_MS, DAY_MS = 60_000, 86_400_000
COLUMNS: Final = {
    "flattenRequest_clean": ("reqId", "user_id", "sku_id", "time", "split_id"),
    "bo_user": ("user_id", "age", "sex", "user_lv_cd", "user_reg_tm"),
    "bo_product": ("sku_id", "a1", "a2", "a3", "cate", "br"),
    "bo_comment": ("dt", "sku_id", "comment_num", "has_bad_comment", "bad_comment_rate"),
    "bo_action": ("pair_id", "time", "type", "cate", "br"),
}


class JdError(UserError, ValueError):
    """The JD files cannot be used; names the file or column, and what is expected."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The content of the five files."""

    requests: pl.DataFrame
    users: pl.DataFrame
    products: pl.DataFrame
    comments: pl.DataFrame
    actions: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "Tables":
        """Read ``*.csv.gz`` (or ``*.csv``) of a folder.

        Raises:
            JdError: If a file or one of its columns is missing.
        """
        return cls(*(_read(folder, name, columns) for name, columns in COLUMNS.items()))


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> pl.DataFrame:
    for path in (folder / f"{name}.csv.gz", folder / f"{name}.csv"):
        if path.is_file():
            frame = pl.read_csv(path, infer_schema_length=None)
            missing = [column for column in columns if column not in frame.columns]
            if missing:
                raise JdError(
                    f"{path}: column {missing[0]!r} is missing; needed are {', '.join(columns)}"
                )
            return frame.select(columns)
    raise JdError(f"{folder}: {name}.csv.gz is missing; needed are {', '.join(COLUMNS)}")


class History:
    """Events of one user, item or pair, in order of time."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.types: list[int] = []
        self.pairs: list[str] = []

    def before(self, time_ms: int, span_ms: int) -> range:
        """Indices of the events in [time - span, time): strictly earlier."""
        return range(bisect_left(self.times, time_ms - span_ms), bisect_left(self.times, time_ms))

    def first_after(self, time_ms: int, kind: int) -> int | None:
        """Time of the first event of a type strictly after ``time_ms``."""
        for index in range(bisect_right(self.times, time_ms), len(self.times)):
            if self.types[index] == kind:
                return self.times[index]
        return None


_NOTHING = History()


class JdRequests:
    """The requests in order of time.

    Args:
        tables: The five files.
        tasks: Tasks by the names of :data:`EVENT_TYPES`.

    Attributes:
        traffic: All requests; ``p_true`` is NaN, and the timestamps are those of 2016.
        split_N: 1 for labelled requests, 2 for those after the last event, int64 (N,).
        end_ms: Time of the last event: nothing is known after it.
    """

    def __init__(self, tables: Tables, tasks: TaskSet) -> None:
        unknown = [name for name in tasks.names if name not in EVENT_TYPES]
        if unknown:
            raise JdError(f"tasks: {unknown[0]!r} is none of {', '.join(EVENT_TYPES)}")
        self.tasks = tasks
        self._users = {row[0]: row[1:] for row in tables.users.iter_rows()}
        self._products = {row[0]: row[1:] for row in tables.products.iter_rows()}
        self._read_events(tables.actions)
        self._read_comments(tables.comments)
        requests = tables.requests.sort("time", "reqId")
        self.split_N = requests["split_id"].to_numpy().astype(np.int64)
        self.traffic = self._traffic(requests)

    @classmethod
    def load(cls, folder: str | Path, tasks: TaskSet) -> "JdRequests":
        """Read a folder with the five files.

        Raises:
            JdError: If a file or one of its columns is missing, or a task is unknown.
        """
        return cls(Tables.read(Path(folder)), tasks)

    def batches(self, size: int = 1000) -> Iterator[Traffic]:
        """All requests in order, ``size`` at a time."""
        for first in range(0, len(self.traffic), size):
            yield self.traffic[first : first + size]

    def labels(self) -> npt.NDArray[np.float64]:
        """Labels by the tasks' windows: 1, 0, or NaN where the data end before the window does.

        Returns:
            float64 (N, T).
        """
        windows_T = np.array([task.window_s for task in self.tasks])
        within_NT = self.traffic.reached & (self.traffic.delays_s <= windows_T)
        closes_NT = self.traffic.timestamps[:, None] + windows_T * 1000
        return np.where(within_NT, 1.0, np.where(closes_NT <= self.end_ms, 0.0, np.nan))

    def _read_events(self, actions: pl.DataFrame) -> None:
        self._by_user: dict[str, History] = {}
        self._by_item: dict[str, History] = {}
        self._by_pair: dict[str, History] = {}
        self._kinds: dict[str, tuple[Any, Any]] = {}
        for pair, time_ms, kind, cate, brand in actions.sort("time", "type").iter_rows():
            user, _, item = pair.partition("_")
            self._kinds[item] = (cate, brand)
            for table, key in ((self._by_user, user), (self._by_item, item), (self._by_pair, pair)):
                history = table.setdefault(key, History())
                history.times.append(time_ms)
                history.types.append(kind)
                history.pairs.append(pair)
        self.end_ms = int(actions["time"].max())  # type: ignore[arg-type]

    def _read_comments(self, comments: pl.DataFrame) -> None:
        self._comments: dict[int, list[tuple[int, int, int, float]]] = {}
        for time_ms, item, *rest in comments.sort("dt").iter_rows():
            self._comments.setdefault(item, []).append((time_ms, *rest))

    def _traffic(self, requests: pl.DataFrame) -> Traffic:
        count = len(requests)
        delays_NT = np.full((count, len(self.tasks)), np.nan)
        values = []
        for row, (request_id, user, item, time_ms, _split) in enumerate(requests.iter_rows()):
            values.append(self._request(request_id, user, item, time_ms))
            history = self._by_pair.get(f"{user}_{item}", _NOTHING)
            for column, name in enumerate(self.tasks.names):
                at_ms = history.first_after(time_ms, EVENT_TYPES[name])
                if at_ms is not None:
                    delays_NT[row, column] = (at_ms - time_ms) / 1000
        return Traffic(
            ids=requests["reqId"].to_list(),
            values=values,
            timestamps=requests["time"].to_numpy().astype(np.int64),
            p_true=np.full((count, len(self.tasks)), np.nan),
            reached=~np.isnan(delays_NT),
            delays_s=delays_NT,
            data_poor=np.zeros(count, np.bool_),
            arrived=np.full(count, KNOWN, np.int64),
        )

    def _request(self, request_id: str, user: int, item: int, time_ms: int) -> bytes:
        doc = {
            "id": request_id,
            "imp": [{"id": "1", "ext": {"jd": _present(self._item(item, time_ms))}}],
            "app": {"bundle": "com.jd"},
            "device": {"geo": {"utcoffset": BEIJING_MINUTES}},
            "user": {
                "id": str(user),
                "ext": {"jd": _present(self._person(user, item, time_ms))},
            },
            "ext": {"ts": time_ms},
        }
        return orjson.dumps(doc)

    def _item(self, item: int, time_ms: int) -> dict[str, Any]:
        history = self._by_item.get(str(item), _NOTHING)
        a1, a2, a3, cate, brand = self._products.get(item, (None,) * 5)
        if cate is None:
            cate, brand = self._kinds.get(str(item), (None, None))
        comments = self._comments.get(item, [])
        newest = bisect_left(comments, (time_ms,)) - 1
        number, bad, rate = comments[newest][1:] if newest >= 0 else (None,) * 3
        carts = history.before(time_ms, 7 * DAY_MS)
        return {
            "sku": str(item),
            "cate": cate,
            "brand": brand,
            "a1": a1,
            "a2": a2,
            "a3": a3,
            "comment_num": number,
            "has_bad_comment": bad,
            "bad_comment_rate": rate,
            "prior_sku_events_1d": len(history.before(time_ms, DAY_MS)),
            "prior_sku_carts_7d": sum(history.types[i] == CART for i in carts),
        }

    def _person(self, user: int, item: int, time_ms: int) -> dict[str, Any]:
        history = self._by_user.get(str(user), _NOTHING)
        pair = self._by_pair.get(f"{user}_{item}", _NOTHING)
        age, sex, level, registered = self._users.get(user, (None,) * 4)
        last = bisect_left(history.times, time_ms) - 1
        day, week = history.before(time_ms, DAY_MS), history.before(time_ms, 7 * DAY_MS)
        return {
            "age": age,
            "sex": sex,
            "level": level,
            "reg_days": None if registered is None else max((time_ms - registered) // DAY_MS, 0),
            "prior_type": history.types[last] if last >= 0 else None,
            "prior_sec": (time_ms - history.times[last]) // 1000 if last >= 0 else None,
            "prior_events_30m": len(history.before(time_ms, 30 * MINUTE_MS)),
            "prior_clicks_1d": sum(history.types[i] == CLICK for i in day),
            "prior_pairs_1d": len({history.pairs[i] for i in day}),
            "prior_carts_7d": sum(history.types[i] == CART for i in week),
            "prior_pair_events_30d": len(pair.before(time_ms, 30 * DAY_MS)),
        }


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
