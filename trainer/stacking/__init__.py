"""Scores from several kinds of models, stacked: linear models, boosting on top, and the net."""
