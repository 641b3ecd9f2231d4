"""Judgement of policies from logged decisions: labels, off-policy estimates, the paper's views."""
