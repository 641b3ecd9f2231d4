"""One rate over many workers: what each partition is owed, and the common threshold."""
