"""How far atoms go from image to image, whatever the cell they are written in and however the whole crystal drifts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRIFT_A = 1e-4
"""Files carry limited decimals: less than this, A, is no drift."""

DRIFTING_SHARE, ALIKE = 0.75, 0.5
"""A drift is a displacement that so large a share of the atoms has in common, to this part of its length. What relaxes
around a hop moves in all directions."""


def steps(frames: Sequence[Atoms]) -> Floats:
    """Displacement of each atom to the next image by minimum image, but for `rigid_drift`, A, (n - 1, n_atoms, 3)."""
    if len(frames) < 2:
        return np.empty((0, 0, 3))
    return np.array([step_between(start, end) for start, end in pairwise(frames)])


def step_between(start: Atoms, end: Atoms) -> Floats:
    """Displacement of each atom from `start` to `end` by minimum image, but for a drift of all, A, (n_atoms, 3)."""
    written = end.positions - start.positions - rigid_drift(start, end)
    short: Floats = find_mic(written, start.cell, start.pbc)[0]
    return short


def rigid_drift(start: Atoms, end: Atoms) -> Floats:
    """The displacement that nearly all atoms of a periodic structure have in common, A, shape (3,); zero for none.

    It costs no energy and belongs to no path. Where a constraint holds atoms, the structure cannot drift.
    """
    none = np.zeros(3)
    if len(start) < 2 or not start.pbc.any() or start.constraints:
        return none
    written = end.positions - start.positions
    middle = written[0]
    for _ in range(2):  # about one atom, then about the middle of all: no atom near half a cell decides
        around = middle + find_mic(written - middle, start.cell, start.pbc)[0]
        middle = np.median(around, axis=0)
    drift: Floats = find_mic(middle[None], start.cell, start.pbc)[0][0]
    length = float(np.linalg.norm(drift))
    off = np.quantile(np.linalg.norm(around - middle, axis=1), DRIFTING_SHARE)
    return drift if length > DRIFT_A and off < ALIKE * length else none


def ways(frames: Sequence[Atoms]) -> Floats:
    """The longest way of each atom from its place in the first image to that in any other, A, shape (n_atoms,)."""
    longest: Floats = np.linalg.norm(np.cumsum(steps(frames), axis=0), axis=2).max(axis=0)
    return longest
