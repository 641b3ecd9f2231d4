"""Examples and requests in files: the Parquet example store, JSON Lines."""
