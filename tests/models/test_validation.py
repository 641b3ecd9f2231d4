"""Pydantic's messages in Weir's words."""

from typing import Any, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.validation import first_fault, reason, reason_and_input


class Inner(BaseModel):
    size: int = 1


class Model(BaseModel):
    """One field of each type that a settings file or a manifest has."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", max_length=3, pattern="^[a-z]*$")
    whole: int = Field(1, ge=1, le=9)
    part: float = 0.5
    flag: bool = False
    kind: Literal["one", "two"] = "one"
    rows: tuple[int, ...] = Field((1,), min_length=1)
    table: dict[str, int] = {}
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.whole == 7:
            raise ValueError("whole: 7 is taken; choose another number")
        return self


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"text": 1}, "text: must be a text"),
        ({"text": "long"}, "text: must have at most 3 characters"),
        ({"text": "A"}, "text: must match pattern '^[a-z]*$'"),
        ({"whole": "x"}, "whole: must be an integer"),
        ({"whole": 1.5}, "whole: must be an integer, got a number with a fractional part"),
        ({"whole": 0}, "whole: must be greater than or equal to 1"),
        ({"whole": 10}, "whole: must be less than or equal to 9"),
        ({"whole": 7}, "whole: 7 is taken; choose another number"),
        ({"part": "x"}, "part: must be a number"),
        ({"flag": "perhaps"}, "flag: must be true or false"),
        ({"kind": "three"}, "kind: must be 'one' or 'two'"),
        ({"rows": 5}, "rows: must be an array"),
        ({"rows": []}, "rows: must have at least 1 item, not 0"),
        ({"rows": [1, "x"]}, "rows.1: must be an integer"),
        ({"table": 5}, "table: must be a table"),
        ({"inner": 5}, "inner: must be a table"),
        ({"other": 5}, "other: unknown key"),
    ],
)
def test_the_first_fault_has_its_place_and_no_words_of_pydantic(
    values: dict[str, Any], expected: str
) -> None:
    """In words that a settings file or a manifest is described by."""
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(values)
    assert first_fault(caught.value) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("[]", "must be a table"), ("{", "not JSON: EOF while parsing")]
)
def test_a_fault_of_the_whole_has_no_place(text: str, expected: str) -> None:
    """What is no object at all, or no JSON."""
    with pytest.raises(ValidationError) as caught:
        Model.model_validate_json(text)
    assert first_fault(caught.value).startswith(expected)


def test_a_field_that_is_missing() -> None:
    """Said as everywhere in Weir."""

    class Strict(BaseModel):
        name: str

    with pytest.raises(ValidationError) as caught:
        Strict.model_validate({})
    assert first_fault(caught.value) == "name: is missing"


def test_words_that_are_not_known_stay() -> None:
    """A message of a later pydantic is shown as it is."""
    assert reason({"msg": "The moon is full"}) == "The moon is full"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"whole": 0}, "must be greater than or equal to 1 (found 0)"),
        ({"whole": 7}, "whole: 7 is taken; choose another number"),
    ],
)
def test_the_value_found_is_shown_once(values: dict[str, Any], expected: str) -> None:
    """A reason that a validator of Weir wrote names the value itself."""
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(values)
    assert reason_and_input(caught.value.errors()[0]) == expected
