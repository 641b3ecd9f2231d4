"""One decision explained: what was read, how it was scored, why it passed or not, what moved it."""
