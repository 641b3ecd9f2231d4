from models.suggestions import did_you_mean


def test_the_most_similar_name_is_suggested() -> None:
    """One name, although several are similar."""
    assert did_you_mean("rat", ["rates", "rate", "kafka"]) == "did you mean 'rate'?"


def test_without_a_similar_name_the_known_ones_are_listed() -> None:
    """Unless the caller has a better hint."""
    assert did_you_mean("zzz", ["a", "b"]) == "known are a, b"
    assert did_you_mean("zzz", ["a", "b"], "write a number") == "write a number"
