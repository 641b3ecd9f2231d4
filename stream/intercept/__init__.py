"""The intercept worker: scores and decides chunks of bid requests, and swaps models."""
