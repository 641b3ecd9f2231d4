"""The JSON schema of ``report.json``, from the types of its content and their docstrings.

``report.schema.json`` in this package is what this module makes; ``python -m stream.report.schema``
prints it.
"""

import dataclasses
import re
from importlib.resources import files
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from stream.report import content, view_content

NAME: Final = "report.schema.json"


def published() -> dict[str, Any]:
    """The schema that is part of the package."""
    schema: dict[str, Any] = orjson.loads((files(__package__) / NAME).read_bytes())
    return schema


def make_schema() -> dict[str, Any]:
    """The schema of :class:`stream.report.content.Report`, with a description of every field."""
    schema = TypeAdapter(content.Report).json_schema()
    _describe(schema, content.Report)
    kinds = {**vars(view_content), **vars(content)}
    for name, part in schema["$defs"].items():
        _describe(part, kinds[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def _describe(schema: dict[str, Any], kind: type) -> None:
    text = kind.__doc__ or ""
    schema["description"] = " ".join(text.split("Attributes:")[0].split())
    schema["additionalProperties"] = False
    lines = dict(re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", text, re.MULTILINE))
    for field in dataclasses.fields(kind):
        about = schema["properties"][field.name]
        about.pop("title", None)
        if field.name in lines:
            about["description"] = " ".join(lines[field.name].split())


if __name__ == "__main__":
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    print(orjson.dumps(make_schema(), option=option).decode(), end="")  # noqa: T201
