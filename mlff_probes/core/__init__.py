"""Records and pure rules that all rooms share: no torch, no pytest, and no files but TOML tables.

`errors`, `text`, `units`, `progress`, `data` stand alone; `records` are the frozen records that are written to disk;
`protocol` is the base of every protocol; `evaluation`, `trajectory`, `case` and `view` carry arrays; `judge` makes
verdicts; `toml` checks tables.
"""
