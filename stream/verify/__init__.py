"""The verifier: accounts for every request from outside, and for the rate that was held."""
