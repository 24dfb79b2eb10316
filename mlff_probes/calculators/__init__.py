"""SPEC -> Calculator, and calling it: `registry` loads one, `evaluation` asks it."""
