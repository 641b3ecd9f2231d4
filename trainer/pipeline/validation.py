"""Validation of training examples: decoded, within bounds, and made for the configured tasks.

Every example that passes can be stored, and those of the serving spec can be learned from.
"""

from models.features import FeatureSpec
from models.tasks import TaskSet
from stream.messages import RecordError, TrainingExample


def read_example(value: bytes | None, tasks: TaskSet, spec: FeatureSpec | None) -> TrainingExample:
    """Decode and validate an example.

    Args:
        value: Value of a record of the ``training-examples`` topic.
        tasks: Tasks that labels may name.
        spec: Feature spec of the serving artifact, None if it is not known; examples that name it
            must have its number of columns and ids.

    Raises:
        RecordError: If the example is invalid; the message names the field.
    """
    example = TrainingExample.from_bytes(value)
    if not example.request_id:
        raise RecordError("training example.request_id: empty")
    unknown = [name for name in example.labels if name not in tasks.names]
    if unknown:
        raise RecordError(
            f"training example.labels: {unknown[0]!r} is not a task; the settings name "
            f"{', '.join(tasks.names)}"
        )
    if spec is not None and example.spec == spec.hash:
        features = example.features
        if len(features) != spec.columns or max(features) >= spec.rows:
            raise RecordError(
                f"training example.features: {len(features)} ids up to "
                f"{max(features, default=0)}; the spec has {spec.columns} columns, and ids below "
                f"{spec.rows}"
            )
    return example


def is_mature(example: TrainingExample, tasks: TaskSet) -> bool:
    """Whether the example has a label for every task."""
    return all(example.labels.get(name) is not None for name in tasks.names)
