"""Which training examples are taken: typed and bounded by the wire, and made for these tasks.

Whatever passes here can be stored, and what is stored under the serving spec can be learned from.
"""

from models.features import FeatureSpec
from models.tasks import TaskSet
from stream.messages import RecordError, TrainingExample


def take_example(value: bytes | None, tasks: TaskSet, spec: FeatureSpec | None) -> TrainingExample:
    """Read an example.

    Args:
        value: A record of the ``training-examples`` topic.
        tasks: What labels may be about.
        spec: What serves; examples that name it must have features of it. None: not known.

    Raises:
        RecordError: Naming what is wrong with it.
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
    """Whether the labels of all tasks are known."""
    return all(example.labels.get(name) is not None for name in tasks.names)
