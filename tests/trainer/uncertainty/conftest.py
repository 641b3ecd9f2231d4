import pytest

from tests.trainer.uncertainty.tiny_funnel import make_lab, make_world
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Float32Array, Ids


@pytest.fixture(scope="session")
def lab() -> Lab:
    """One lab for all tests: what they fit is fitted once."""
    return make_lab()


@pytest.fixture(scope="session")
def fresh_ids() -> Ids:
    return make_world(400, 2).rows.ids_NC


@pytest.fixture(scope="session")
def fresh_truth() -> Float32Array:
    return make_world(400, 2).truth_NT
