"""Velocities of a trajectory that carries positions alone."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

REACH = 8
"""Samples on either side that a velocity is worked out from: with so many the band below is passed within 1 %."""

PASSED = 0.8
"""Share of the Nyquist frequency up to which differentiation is exact; a spectrum must end there
(`mlff_probes.methods.analysis.sampling.EDGE`)."""

DESIGN_POINTS = 2000
"""Frequencies at which the weights are fitted: many more than there are weights."""


def velocities_from_positions(positions: ArrayLike, interval_fs: float) -> Floats:
    """Velocities, A/fs, of the shape of the positions; NaN for the first and the last `REACH` samples.

    A central difference passes only sin(w t) / (w t) of a vibration of angular frequency w at an interval t: at a fifth
    of the Nyquist frequency 0.94 of the velocity, at half of it 0.64, so that spectra of sparse positions are too low
    and temperatures too small. Weights over `REACH` samples on either side instead, fitted by least squares to the
    transfer function of a derivative, pass all up to `PASSED` of the Nyquist frequency within 1 %, and up to 0.6 within
    one part in ten thousand. A straight motion is exact.

    Parameters
    ----------
    positions
        Unwrapped, A, shape (n_replicas, n_samples, n_atoms, 3).
    interval_fs
        Time between samples, fs.
    """
    at = np.asarray(positions, dtype=float)
    found = np.full_like(at, np.nan)
    inner = at.shape[1] - 2 * REACH
    if inner < 1:
        return found
    total = np.zeros_like(at[:, :inner])
    for lag, weight in enumerate(_weights(), start=1):
        later, sooner = REACH + lag, REACH - lag
        total += weight * (at[:, later : later + inner] - at[:, sooner : sooner + inner])
    found[:, REACH:-REACH] = total / interval_fs
    return found


@cache
def _weights() -> Floats:
    """Weights of the differences over 1, 2, … samples on either side, per interval."""
    lags = np.arange(1, REACH + 1)
    angles = np.linspace(0, PASSED * np.pi, DESIGN_POINTS + 1)[1:]
    transfer = 2 * np.sin(np.outer(angles, lags)) / angles[:, None]
    weights: Floats = np.linalg.lstsq(transfer, np.ones_like(angles), rcond=None)[0]
    weights /= 2 * (lags @ weights)  # exact where nothing vibrates
    return weights
