"""Inference: how fast a model runs, and whether the fast path gives the right answer."""
