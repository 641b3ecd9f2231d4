"""Lanes: the transactions of the partitions that a worker owns, exactly once."""
