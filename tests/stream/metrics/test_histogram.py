import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from stream.metrics.histogram import ArrayHistogram

BOUNDS = (0.1, 0.5, 1.0)


@given(st.lists(st.lists(st.floats(0, 2) | st.sampled_from(BOUNDS), max_size=8), max_size=4))
def test_array_histogram_counts_as_the_librarys_own(batches: list[list[float]]) -> None:
    """Counting by arrays gives the buckets that observing one by one gives."""
    registry = CollectorRegistry()
    ours = ArrayHistogram("ours", "x", "task", BOUNDS)
    theirs = Histogram("theirs", "x", ["task"], buckets=BOUNDS, registry=registry)
    theirs.labels("a")
    ours.observe("a", np.zeros(0))
    for batch in batches:
        ours.observe("a", np.array(batch, np.float64))
        for value in batch:
            theirs.labels("a").observe(value)
    (family,) = ours.collect()
    found = {s.name.removeprefix("ours") + str(s.labels): s.value for s in family.samples}
    for sample in next(iter(registry.collect())).samples:
        if not sample.name.endswith("_created"):
            name = sample.name.removeprefix("theirs") + str(sample.labels)
            assert found[name] == pytest.approx(sample.value)
