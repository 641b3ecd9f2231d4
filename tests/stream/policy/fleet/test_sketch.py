import numpy as np

from stream.policy.fleet.sketch import WINDOWS, RewardSketch


def test_a_sketch_is_less_noisy_than_one_window() -> None:
    """The share above a threshold varies by the root of the windows less."""
    generator = np.random.default_rng(0)
    sketch = RewardSketch(1000, 256)
    one, several = [], []
    for _ in range(400):
        sample_Q = np.sort(generator.random(1000).astype(np.float32))[2::4]
        found_Q = sketch.update(sample_Q, 1000)
        assert (np.diff(found_Q) >= 0).all()
        assert len(found_Q) <= 256
        one.append((sample_Q > 0.6).mean())
        several.append((found_Q > 0.6).mean())
    assert np.std(several[WINDOWS:]) < 1.2 * np.std(one) / np.sqrt(WINDOWS)


def test_a_change_is_in_the_sketch_within_its_windows() -> None:
    """Old rewards leave, one window after the other, and at once when the sketch is cleared."""
    sketch = RewardSketch(100, 256)
    low_Q, high_Q = np.zeros(50, np.float32), np.ones(50, np.float32)
    for _ in range(WINDOWS):
        sketch.update(low_Q, 100)
    for _ in range(WINDOWS - 1):
        assert sketch.update(high_Q, 100)[0] == 0.0
    assert sketch.update(high_Q, 100)[0] == 1.0
    sketch.update(low_Q, 100)
    sketch.clear()
    assert sketch.update(high_Q, 1)[0] == 1.0
