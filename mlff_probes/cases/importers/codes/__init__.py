"""What each code writes: its settings, and structures where ASE does not read them. One module a code."""
