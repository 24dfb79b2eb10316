"""Files of other codes as cases: one module a kind of source."""
