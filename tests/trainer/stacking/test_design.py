import numpy as np

from models.features import FeatureSpec
from models.nets.embedding import FeatureLayout
from trainer.stacking.design import Design

SPEC = FeatureSpec.parse(
    """
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 5

[[feature]]
name = "segments"
kind = "tags"
path = "user.segments[*]"
size = 6
slots = 3

[[feature]]
name = "clicks"
kind = "numeric"
path = "user.clicks"
boundaries = [1, 2, 3, 4, 5, 6]
""",
    "test",
)


def test_each_id_has_a_column_and_tags_share_one() -> None:
    """A request's row has 1 at its site, a share at each tag that is there, and a place."""
    design = Design.of(FeatureLayout.of(SPEC))
    site, first, second, third, clicks = 0, 1, 2, 3, 4
    ids_NC = np.zeros((2, 5), np.int32)
    ids_NC[:, site] = [3, 0]
    ids_NC[:, [first, second, third]] = [[7, 9, 5], [5, 5, 5]]
    ids_NC[:, clicks] = [11 + 6, 11]
    matrix_NQ = design.matrix(ids_NC).toarray()
    assert matrix_NQ.shape == (2, 5 + 6 + 8 + 1)
    expected_NQ = np.zeros_like(matrix_NQ)
    expected_NQ[0, [3, 7, 9, 17]] = [1, 0.5, 0.5, 1]
    expected_NQ[0, 19] = (6 - 4) / 2
    expected_NQ[1, [0, 11]] = 1  # no tag, and no place of a number that is missing
    np.testing.assert_array_equal(matrix_NQ, expected_NQ)


def test_coefficients_of_a_feature_are_one_group() -> None:
    """Ids of one feature share their penalty; the place of a number has one of its own."""
    groups_Q = Design.of(FeatureLayout.of(SPEC)).groups_Q
    assert groups_Q.tolist() == [0] * 5 + [1] * 6 + [2] * 8 + [3]
