"""TOML + files -> Case. `load` is the entrance; `frames` and `files` read structures, `tolerances` the policy."""
