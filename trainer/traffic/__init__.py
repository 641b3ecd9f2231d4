"""Traffic and its truth: simulator, real JD requests, JSONL; publisher; the world downstream."""
