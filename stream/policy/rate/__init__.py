"""Controls the interception rate r (eq. 7): window, thresholds, debt, capacity, pacing."""
