"""Running the suite: options become a `Suite` and a `Gate`; hooks, fixture and `Benchmark` use these."""
