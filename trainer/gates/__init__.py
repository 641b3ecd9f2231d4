"""Whether a candidate may serve, with stated errors however often somebody looks or tries."""
