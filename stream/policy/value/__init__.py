"""The reward of a request: t = h(s, u) (eq. 9), then e = f(t) (eq. 8)."""
