"""What a request is worth: t = h(s, u) (eq. 9), then e = f(t) (eq. 8)."""
