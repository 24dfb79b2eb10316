"""Readers of a scorecard, one file an output format; none knows of another."""
