"""What a run found out, as data (`model`), compared (`comparison`, `ranks`), read and written (`files`, `reports`)."""
