"""Examples and requests in files: Parquet stores, JSON Lines."""
