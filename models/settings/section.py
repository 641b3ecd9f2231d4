"""What the sections of the settings share: their base class, and the types of names and secrets."""

from typing import Annotated, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

#: The characters that Kafka allows in the name of a topic. Weir's consumer groups keep to them
#: too, because Faust and the transactional ids derive names of topics and clients from the group.
NAME_PATTERN: Final = r"^[a-zA-Z0-9._-]+$"
TopicName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=249)]
GroupName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=180)]
Share = Annotated[float, Field(ge=0, le=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]

#: Serialization context under which secrets are written out.
REVEAL: Final = "reveal secrets"


def _to_json(secret: SecretStr, info: SerializationInfo) -> str:
    return secret.get_secret_value() if info.context == REVEAL else str(secret)


#: A text that no log line, message or dump shows; only the context :data:`REVEAL` writes it out.
Secret = Annotated[SecretStr, PlainSerializer(_to_json, return_type=str, when_used="json")]


class Section(BaseModel):
    """A table of ``weir.toml``: unknown keys are errors, and booleans are not numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _reject_boolean_numbers(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, bool):
            return value
        wanted = cls.model_fields[info.field_name or ""].annotation
        if wanted in {int, float, int | None, float | None}:
            raise PydanticCustomError("number_type", "must be a number, not a boolean")
        return value
