import jsonschema
import orjson
import pytest

from stream.report.content import Report
from stream.report.schema import make_schema, published
from tests.stream.report.reports import comparison, hostile_report, refused, report

EVERY = [report(), hostile_report(), report(comparison("b", refused("deal"))), report(curves=[])]


def test_the_published_schema_is_that_of_the_types() -> None:
    """Run python -m stream.report.schema and replace the file where this fails."""
    assert published() == make_schema()


@pytest.mark.parametrize("made", EVERY)
def test_reports_follow_the_published_schema(made: Report) -> None:
    """What is written, and nothing else, is in the schema."""
    validator = jsonschema.Draft202012Validator(published())
    content = orjson.loads(orjson.dumps(made))
    validator.validate(content)
    content["comparisons"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(content)
