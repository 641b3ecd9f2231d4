"""Field types that several messages share, with their bounds."""

from typing import Annotated

from msgspec import Meta

from models import bounds

Millis = Annotated[int, Meta(ge=0, le=bounds.MAX_TIME_MS)]
RequestId = Annotated[str, Meta(max_length=bounds.MAX_REQUEST_ID)]
TaskName = Annotated[str, Meta(max_length=bounds.MAX_TASK_NAME)]
