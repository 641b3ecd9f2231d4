"""Learning from labels that are not final yet: one interface, and the methods behind it."""
