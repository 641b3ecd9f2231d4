import orjson
import pytest

from models.features import Extractor
from stream.policy import PolicyError
from stream.policy.scenario_index import ScenarioIndex, scenario_feature
from tests.models.features.arbitrary import none


def test_bytes_and_objects_name_the_same_scenario() -> None:
    """The compiled scanner and Python read one row; a number and its text have the same one."""
    extractor = Extractor((scenario_feature("app.id", 0),))
    requests = [{"id": "r", "imp": [{}], "app": {"id": name}} for name in ("a", "7", 7, "é", "")]
    values = [orjson.dumps(request) for request in requests]
    read = extractor.scan(values, none(5), 1000)
    rows_N = extractor.extract(requests, none(5))[:, 0]
    assert rows_N.tolist() == read.ids_NC[:, 0].tolist() or not any(read.request_ids)
    index = ScenarioIndex(["7", "é", "a"])
    assert index.numbers(rows_N).tolist() == [3, 1, 1, 2, 0]


@pytest.mark.parametrize("path", ["", "imp[*].id", "site..id"])
def test_a_path_that_reaches_no_single_value_is_refused(path: str) -> None:
    """A malformed path, or one to many values, is an error that names the setting."""
    with pytest.raises(PolicyError, match=r"policy.scenario_path"):
        scenario_feature(path, 0)
