"""The evidence: the paper's tables and figures, what they lack, and what they leave undecided."""
