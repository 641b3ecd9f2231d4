"""A small spec with pooled tags, and random ids for it."""

from collections.abc import Callable

import numpy as np
import pytest

from models.features import FeatureSpec
from models.nets.embedding import FeatureLayout

SPEC_TEXT = """\
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 8

[[feature]]
name = "segments"
kind = "tags"
path = "user.data[*].segment[*].id"
size = 16
slots = 3

[[feature]]
name = "app"
kind = "categorical"
path = "app.id"
size = 8

[[feature]]
name = "floor"
kind = "numeric"
path = "imp[0].bidfloor"
boundaries = [0.1, 0.5, 1.0, 2.0]

[[feature]]
name = "categories"
kind = "tags"
path = "site.cat[*]"
size = 4
slots = 2
"""


@pytest.fixture
def spec() -> FeatureSpec:
    return FeatureSpec.parse(SPEC_TEXT, "test")


@pytest.fixture
def layout(spec: FeatureSpec) -> FeatureLayout:
    return FeatureLayout.of(spec)


@pytest.fixture
def random_ids(spec: FeatureSpec) -> Callable[[int], np.ndarray]:
    """Ids of N requests; about a third of the values is missing."""

    def make(rows: int) -> np.ndarray:
        rng = np.random.default_rng(5)
        columns = []
        for feature in spec.features:
            values_NS = rng.integers(0, feature.size, (rows, feature.slots))
            values_NS[rng.random(values_NS.shape) < 1 / 3] = 0
            columns.append(feature.offset + values_NS)
        return np.concatenate(columns, axis=1).astype(np.int32)

    return make
