"""`weir model`: the versions of the registry, which of them serves, and what served when."""
