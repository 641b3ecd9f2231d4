"""Writes down what decided each request, so that a later replay repeats the decisions exactly."""
