"""Molecular dynamics as codes leave it on a disk, one file a code: frames, and what the outputs say of time and heat.

A reader may return less than a whole: what it leaves empty, the user says, or the import is refused.
"""
