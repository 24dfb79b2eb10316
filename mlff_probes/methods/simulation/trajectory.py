"""Unwrapping: positions that make no jump when an atom crosses the border of its cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def unwrapped(positions: Floats, cells: Floats, pbc: NDArray[np.bool_]) -> Floats:
    """Positions that make no jump of a cell vector from one sample to the next; the first sample stays.

    Shapes (…, n_samples, n_atoms, 3) and (…, n_samples, 3, 3). An atom that moves by more than half a cell vector
    between two samples cannot be told from one that was wrapped.
    """
    found = np.array(positions, dtype=float)
    for index in np.ndindex(found.shape[:-3]):
        unwrap(found[index], cells[index], pbc)
    return found


def unwrap(positions: Floats, cells: Floats, pbc: NDArray[np.bool_]) -> None:
    """Unwrap one replica in place, as `unwrapped` does: a long trajectory of many atoms leaves no room for a copy.

    Shapes (n_samples, n_atoms, 3) and (n_samples, 3, 3).
    """
    if not len(positions):
        return
    before, jumps = positions[0] @ np.linalg.inv(cells[0]), np.zeros(positions.shape[1:])
    for row, (cell, inverse) in enumerate(zip(cells[1:], np.linalg.inv(cells[1:]), strict=True), start=1):
        fractional = positions[row] @ inverse
        jumps += (fractional - before).round() * pbc
        positions[row] = (fractional - jumps) @ cell
        before = fractional
