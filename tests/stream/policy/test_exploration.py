import numpy as np
import numpy.typing as npt

from stream.policy.exploration import draw

HASHES = np.random.default_rng(11).integers(0, 2**64, 4000, dtype=np.uint64)


def test_draws_are_uniform_and_independent_of_seed_and_hash() -> None:
    """Neighbouring hashes and seeds give uniform, uncorrelated draws; the same ones the same."""
    counting: npt.NDArray[np.uint64] = np.arange(20_000, dtype=np.uint64)
    one, two = draw(counting, 1), draw(counting, 2)
    for drawn in (one, two, draw(HASHES, -5)):
        assert 0.0 <= drawn.min() < drawn.max() < 1.0
        histogram, _ = np.histogram(drawn, bins=20, range=(0, 1))
        assert ((histogram - len(drawn) / 20) ** 2).sum() / (len(drawn) / 20) < 45.0
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.03
    assert np.array_equal(one, draw(counting, 1))


def test_draws_are_the_same_on_every_machine() -> None:
    """Golden values: a replay anywhere draws what was drawn here."""
    hashes = np.array([0, 1, 2**64 - 1], np.uint64)
    golden = [round(float(x) * 2**53) for x in draw(hashes, 7)]
    assert golden == GOLDEN_DRAWS


def _splitmix(word: int) -> int:
    """The published finaliser in plain integers, apart from the vectorised one."""
    mask = 2**64 - 1
    word = (word + 0x9E3779B97F4A7C15) & mask
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    return word ^ (word >> 31)


GOLDEN_DRAWS = [_splitmix(word ^ _splitmix(7)) >> 11 for word in (0, 1, 2**64 - 1)]
