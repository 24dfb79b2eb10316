"""How far the atoms are from where they started."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def rmsd(positions: ArrayLike, start: ArrayLike, masses: ArrayLike) -> Floats:
    """Root mean square displacement of all atoms from the start, A, shape (n_replicas, n_samples).

    sqrt(mean over atoms of |r - r_start - (shift of the centre of mass)|^2). A crystal does not turn, so no rotation
    is fitted; each atom counts alike.

    Parameters
    ----------
    positions
        Unwrapped, A, shape (n_replicas, n_samples, n_atoms, 3).
    start
        A, shape (n_atoms, 3).
    masses
        u, shape (n_atoms,).

    Raises
    ------
    ValueError
        Where the shapes do not fit.
    """
    found, origin, weights = (np.asarray(array, dtype=float) for array in (positions, start, masses))
    if found.ndim != 4 or found.shape[2:] != origin.shape or origin.shape != (len(weights), 3):
        raise ValueError(f"positions {found.shape}, start {origin.shape} and masses {weights.shape} do not fit")
    moved = found - origin
    moved -= np.average(moved, axis=2, weights=weights)[:, :, None]
    result: Floats = np.sqrt((moved**2).sum(axis=3).mean(axis=2))
    return result
