"""Fitting nets: the teacher with SWAG, soft labels, and the student distilled from them."""
