"""Records and pure rules that all rooms share: no files, no torch, no pytest.

`errors`, `text`, `units`, `progress`, `data` stand alone; `records` are the frozen records that are written to disk;
`protocol` is the base of every protocol; `evaluation`, `trajectory`, `case` and `view` carry arrays; `judge` makes
verdicts; `toml` checks tables.
"""
