"""Retests of held candidates on requests that came after them."""
