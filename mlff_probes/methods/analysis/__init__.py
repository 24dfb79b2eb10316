"""Numbers in, numbers out: no calculator, no files."""
