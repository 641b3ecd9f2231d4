"""`weir status`: the state of everything that runs, from brokers, registry and metrics."""
