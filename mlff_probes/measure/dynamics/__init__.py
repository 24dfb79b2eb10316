"""Dynamics: one simulation, and all that is read off its trajectory."""
