"""The watch after a swap: does the new version keep what it promised, and if not, what to do."""
