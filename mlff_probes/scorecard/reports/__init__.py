"""Readers of a scorecard, one file an output format; `text`, `case_text`, `speed` and `terminal.notes` serve all."""
