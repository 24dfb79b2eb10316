"""Mean squared displacement by lag."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlff_probes.methods.analysis.statistics import Unresolved, quantile

Floats = NDArray[np.float64]

LONGEST_SHARE = 0.5
"""Longest usable lag as a share of the trajectory: two windows of each atom that do not overlap."""

LAGS = 100
"""Most lags of a mean squared displacement."""


@dataclass(frozen=True)
class MSD:
    """Mean squared displacement by lag.

    Attributes
    ----------
    lag_fs
        Shape (n_lags,), rising.
    msd
        A^2, over atoms, replicas and all time origins.
    uncertainty
        Half-width of the 95 % interval, A^2, with windows that do not overlap counted as independent.
    variance
        Variance of a single squared displacement, A^4.
    samples
        Windows that do not overlap: walkers x duration / lag.
    walkers
        Atoms of all replicas.
    """

    lag_fs: Floats
    msd: Floats
    uncertainty: Floats
    variance: Floats
    samples: Floats
    walkers: int


def mean_squared_displacement(
    positions: ArrayLike, masses: ArrayLike, mask: ArrayLike, time_fs: ArrayLike, *, lags: int = LAGS
) -> MSD:
    """Mean squared displacement of some atoms, averaged over all time origins, A^2.

    MSD(lag) = < |r(t + lag) - r(t)|^2 >, r relative to the centre of mass of all atoms, which is taken away from each
    sample.

    Parameters
    ----------
    positions
        Unwrapped, A, shape (n_replicas, n_samples, n_atoms, 3).
    masses
        u, shape (n_atoms,).
    mask
        The atoms asked for, boolean of shape (n_atoms,) or indices.
    time_fs
        Of the samples, at equal intervals, shape (n_samples,).
    lags
        At most so many, evenly from one interval to half the trajectory.

    Raises
    ------
    Unresolved
        With fewer than three samples.
    ValueError
        Where shapes do not fit, no atom is asked for, or times are not at equal intervals.
    """
    paths, interval = _paths(positions, masses, mask, time_fs)
    replicas, count, atoms, _ = paths.shape
    longest = int((count - 1) * LONGEST_SHARE)
    steps = np.unique(np.linspace(1, longest, min(lags, longest)).round().astype(int))
    moments = np.array([_moments(paths, int(step)) for step in steps])
    samples = replicas * atoms * (count - 1) / steps
    uncertainty = quantile(np.maximum(samples, 2) - 1) * np.sqrt(moments[:, 1] / samples)
    return MSD(steps * interval, moments[:, 0], uncertainty, moments[:, 1], samples, replicas * atoms)


def _paths(positions: ArrayLike, masses: ArrayLike, mask: ArrayLike, time_fs: ArrayLike) -> tuple[Floats, float]:
    """Positions of the chosen atoms relative to the centre of mass of all, and the interval."""
    everything, weights = np.asarray(positions, dtype=float), np.asarray(masses, dtype=float)
    times = np.asarray(time_fs, dtype=float)
    if everything.ndim != 4 or everything.shape[1:] != (len(times), len(weights), 3):
        raise ValueError(f"positions {everything.shape} do not fit {len(times)} times and {len(weights)} masses")
    if len(times) < 3:
        raise Unresolved(f"{len(times)} samples, at least 3 are needed for a displacement")
    intervals = np.diff(times)
    if not np.allclose(intervals, intervals[0], rtol=1e-6, atol=0) or intervals[0] <= 0:
        raise ValueError("the samples must be at equal intervals of time")
    chosen = everything[:, :, np.asarray(mask)]
    if not chosen.shape[2]:
        raise ValueError("no atom to follow: the mask is empty")
    return chosen - np.average(everything, axis=2, weights=weights)[:, :, None], float(intervals[0])


def _moments(paths: Floats, step: int) -> tuple[float, float]:
    """Mean and variance of the squared displacements over so many samples; a replica at a time, to save memory."""
    squares = []
    for path in paths:
        moved = path[step:] - path[:-step]
        squares.append(np.einsum("sax,sax->sa", moved, moved))
    return float(np.mean(squares)), float(np.var(squares))
