"""Live quality: how good the serving model is on the requests of the last days, and their drift."""
