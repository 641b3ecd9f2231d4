"""What all processes of Weir share: logs, health and probes, daemon threads, child processes."""
