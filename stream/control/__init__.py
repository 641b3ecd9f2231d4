"""Steering while running: the topics ``control``, ``consumption`` and ``rate-state``."""
