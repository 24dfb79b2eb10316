"""Numbers as every report writes them: the decimals of each unit."""

from __future__ import annotations

import math

DECIMALS = {
    "eV": 3,
    "eV/cell": 4,
    "eV/A": 3,
    "A": 3,
    "of path": 3,
    "ms": 1,
    "meV/atom": 1,
    "meV/A": 1,
    "1": 3,
    "calls": 0,
    "us/atom": 1,
    "h": 1,
    "meV": 2,
    "GPa": 3,
    "K": 1,
    "K/ps": 1,
    "%": 2,
    "THz": 3,
    "A/ps": 3,
    "eV/atom": 4,
    "A^3/atom": 3,
}
"""Decimals shown for a unit: one more than its tolerances need."""

POWERS_OF_TEN = ("cm^2/s", "eV/atom/ps")
"""Units whose values differ by orders of magnitude."""

HUGE = 1e9
"""From here on a number is written with a power of ten: an explosion must not cost the table."""


def number(value: float | None, unit: str, *, sign: bool = False, tolerance: float = math.inf) -> str:
    """`value` with the decimals of its unit, or one more than `tolerance` has; an em dash for None; never '-0.000'."""
    if value is None:
        return "—"
    if unit in POWERS_OF_TEN or abs(value) >= HUGE:
        return f"{value + 0.0:{'+' if sign else ''}.1e}"
    decimals = max(DECIMALS.get(unit, 4), 1 - math.floor(math.log10(tolerance)) if tolerance < 1 else 0)
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{'+' if sign else ''}.{decimals}f}"
