"""The simulated market: its world, its funnel, and the requests that it sends."""
