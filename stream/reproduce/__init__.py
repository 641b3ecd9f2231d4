"""Repeats the decisions of live workers from their journals, and compares them with the log."""
