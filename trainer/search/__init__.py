"""Differentiable search of an architecture (AutoMTL), and random search at equal cost."""
