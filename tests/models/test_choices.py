from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from models.choices import chosen_from, load_choice

SHAPES = {"dict": "collections:OrderedDict", "deque": "collections:deque"}


def test_a_name_loads_the_code_behind_it() -> None:
    """What the place names is returned; a name that is not there is an error with a hint."""
    assert load_choice(SHAPES, "deque").__name__ == "deque"
    with pytest.raises(ValueError, match="'dequeue' is unknown; did you mean 'deque'"):
        load_choice(SHAPES, "dequeue")


def test_a_setting_may_name_what_the_registry_has_and_the_others() -> None:
    """Any other name is refused, and the message lists those that are known."""
    setting = TypeAdapter(Annotated[str, chosen_from(SHAPES, "auto")])
    assert [setting.validate_python(name) for name in ("dict", "auto")] == ["dict", "auto"]
    with pytest.raises(ValidationError, match="'x' is unknown; known are dict, deque, auto"):
        setting.validate_python("x")
