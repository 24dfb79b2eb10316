"""Commands of `mlff-probes` that make cases, one module each: `add(commands)` adds its parser.

A module imports argparse and the errors; all else is imported when its command runs.
"""
