from trainer.training.config import StudentTraining
from trainer.training.distillation import sets_per_row
from trainer.training.soft_labels import INTERLEAVED


def test_few_rows_are_labelled_by_more_sets() -> None:
    """As many as the student sees them more often than it is told to, one set at least."""
    training = StudentTraining(batch=100, epochs=2, min_steps=600)
    assert sets_per_row(300_000, training) == 1
    assert sets_per_row(30_000, training) == 1
    assert sets_per_row(15_000, training) == 2
    assert sets_per_row(10_000, training) == 3
    assert sets_per_row(100, training) == INTERLEAVED
