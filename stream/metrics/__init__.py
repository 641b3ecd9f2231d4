"""Prometheus metrics of workers, and reading them."""
