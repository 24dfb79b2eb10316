"""A run with workers (pytest-xdist): who measures what, and where measurements are shared."""
