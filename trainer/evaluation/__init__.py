"""How good a model is, whether it may serve, and its card."""
