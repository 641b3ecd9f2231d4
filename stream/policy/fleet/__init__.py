"""One rate over many workers: the debt of each partition, and the common threshold."""
