"""What every process of Weir has: logging, health and probes, bounded threads, child processes."""
