"""Controls running workers: the topics ``control``, ``consumption`` and ``rate-state``."""
