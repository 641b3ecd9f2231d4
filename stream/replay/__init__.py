"""Replay: historical requests through the worker's own decision code, and their evaluation."""
