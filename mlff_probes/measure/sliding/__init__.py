"""Sliding: one layer of a crystal over the next."""
