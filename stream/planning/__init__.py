"""From measured figures to a plan: how many partitions, workers and brokers a load needs."""
