"""Latency of every contender, open loop, side by side."""
