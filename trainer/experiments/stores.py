"""Worlds from an example store, with true probabilities where they are known.

Every seed is another random split by request, or by group: all rows of a user on one side. The
setting ``drift`` splits by time: the newest rows are the test rows.
"""

import logging
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.data.examples import Examples, read_examples
from models.features import FeatureSpec
from models.nets.embedding import FeatureLayout
from models.tasks import TaskSet
from trainer.experiments.data import Dataset, Fit, Sizes, World, selected, with_rare_rows
from trainer.pipeline.csv_examples import csv_examples
from trainer.traffic.examples import extract
from trainer.traffic.jd_slices import load_slice

TEST: Final = 0.25
VALID: Final = 0.1
EARLIER: Final = 0.25
"""Share of the training rows that the earlier model of ``selected`` learned from."""
POOR: Final = "data_poor"

logger = logging.getLogger(__name__)


class StoreSource:
    """Rows of a store, split anew for every seed.

    Args:
        name: Name in the report.
        tasks: Tasks to predict.
        layout: Rows of the embedding table by column.
        rows: All rows with at least one label, in order of time.
        unlabelled_NC: Rows without any label.
        group_N: Group of each row, kept on one side of every split; None splits by row.
        knows_poor: Whether ``rows`` marks data-poor segments; otherwise the rarest rows are marked.
    """

    def __init__(
        self,
        name: str,
        tasks: TaskSet,
        layout: FeatureLayout,
        rows: Dataset,
        unlabelled_NC: npt.NDArray[np.int32],
        group_N: npt.NDArray[np.int64] | None = None,
        *,
        knows_poor: bool = False,
    ) -> None:
        self.name, self.tasks, self.layout = name, tasks, layout
        self._rows, self._unlabelled_NC = rows, unlabelled_NC
        self._group_N = np.arange(len(rows)) if group_N is None else group_N
        self._knows_poor = knows_poor

    @classmethod
    def read(cls, path: Path, spec: FeatureSpec, tasks: TaskSet) -> "StoreSource":
        """Read a Parquet file of examples, a folder of them, or a CSV file.

        Raises:
            ExampleError: If they cannot be read (see :func:`models.data.examples.read_examples` and
                :func:`trainer.pipeline.csv_examples.csv_examples`).
        """
        if path.suffix == ".csv":
            examples = csv_examples(path, spec, tasks, seed=0, warn=logger.warning)
            return cls.of(str(path), examples, spec, tasks)
        examples = read_examples(path, spec, tasks)
        poor_N = _data_poor(path, len(examples))
        return cls.of(str(path), examples, spec, tasks, poor_N=poor_N)

    @classmethod
    def of(
        cls,
        name: str,
        examples: Examples,
        spec: FeatureSpec,
        tasks: TaskSet,
        *,
        poor_N: npt.NDArray[np.bool_] | None = None,
        group_N: npt.NDArray[np.int64] | None = None,
    ) -> "StoreSource":
        """Make a source of examples in memory."""
        order_N = np.argsort(examples.ts_N, kind="stable")
        known_N = np.asarray(~np.isnan(examples.labels_NT[order_N]).all(axis=1))
        everything = Dataset(
            examples.features_NC,
            examples.labels_NT,
            examples.p_true_NT,
            np.zeros(len(examples), np.bool_) if poor_N is None else poor_N,
        ).take(order_N)
        return cls(
            name,
            tasks,
            FeatureLayout.of(spec),
            everything.take(np.flatnonzero(known_N)),
            everything.ids_NC[~known_N],
            None if group_N is None else group_N[order_N][known_N],
            knows_poor=poor_N is not None,
        )

    def world(self, setting: str, seed: int, sizes: Sizes, fit: Fit, rate: float) -> World:
        """Make a world (see :class:`trainer.experiments.data.Source`)."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, 17]))
        test_K, valid_K, train_K = self._split(rng, by_time=setting == "drift")
        train = self._rows.take(np.sort(train_K[: sizes.small if setting == "small" else None]))
        if setting == "selected":
            cut = round(EARLIER * len(train_K))
            earlier = fit(self._rows.take(train_K[:cut]))
            train = selected(self._rows.take(np.sort(train_K[cut:])), earlier, rate)
        world = World(
            tasks=self.tasks,
            layout=self.layout,
            train=train.take(np.arange(min(len(train), sizes.train))),
            unlabelled_NC=self._unlabelled_NC[: sizes.unlabelled],
            valid=self._rows.take(np.sort(valid_K[: sizes.valid])),
            test=self._rows.take(np.sort(test_K[: sizes.test])),
        )
        return world if self._knows_poor else with_rare_rows(world)

    def _split(self, rng: np.random.Generator, by_time: bool) -> list[npt.NDArray[np.int64]]:
        """Row indices of test, validation and training, each in random order."""
        groups_G = np.unique(self._group_N)
        if by_time:
            newest_G = np.array([np.flatnonzero(self._group_N == g).max() for g in groups_G])
            order_G = groups_G[np.argsort(-newest_G, kind="stable")]
        else:
            order_G = rng.permutation(groups_G)
        cuts = np.round(np.array([TEST, TEST + VALID]) * len(order_G)).astype(int)
        return [
            rng.permutation(np.flatnonzero(np.isin(self._group_N, part_G)))
            for part_G in np.split(order_G, cuts)
        ]


def jd_source(folder: Path) -> StoreSource:
    """Source of raw slices of JD's contest files, split by user, without true probabilities.

    Raises:
        JdError: If a file is missing.
    """
    requests, user_N = load_slice(folder)
    spec = FeatureSpec.load("jd")
    examples = Examples(
        ts_N=requests.traffic.timestamps,
        features_NC=extract(spec.extractor(), requests.traffic.values, requests.traffic.timestamps),
        labels_NT=requests.labels().astype(np.float32),
        propensity_N=np.ones(len(user_N)),
    )
    return StoreSource.of(str(folder), examples, spec, requests.tasks, group_N=user_N)


def _data_poor(path: Path, count: int) -> npt.NDArray[np.bool_] | None:
    """The column ``data_poor``, in the order in which the examples are read."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not all(POOR in pl.read_parquet_schema(file) for file in files):
        return None
    column = pl.concat([pl.read_parquet(file, columns=[POOR])[POOR] for file in files])
    poor_N = column.cast(pl.Boolean).fill_null(value=False).to_numpy()
    return poor_N if len(poor_N) == count else None
