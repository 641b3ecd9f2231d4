"""The versions of the registry: listed, compared, verified, announced, removed; their history."""
