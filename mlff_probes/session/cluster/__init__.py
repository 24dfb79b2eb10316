"""A run whose measurements are made by the workers of a Dask cluster (`--probe-executor`)."""
