"""Uncertainty of the scores: several methods behind one interface (`method.py`)."""
