"""The suite: each test is one probe, its docstring says what a failure means and what to look at first."""
