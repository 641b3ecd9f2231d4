"""Prometheus metrics of intercept workers, and a reader of metrics endpoints."""
