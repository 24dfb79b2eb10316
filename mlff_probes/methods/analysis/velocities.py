"""Velocities of a trajectory that carries positions alone."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

REACH = 10
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
    transfer function of a derivative, pass all up to `PASSED` of the Nyquist frequency within 1 %, and up to half of it
    within two parts in ten thousand. A straight motion is exact.

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
    """Weights of the differences over 1, 2, … samples on either side, per interval.

    The weight of the first makes what does not vibrate exact. Errors of low frequencies, where spectra are, count more.
    """
    lags = np.arange(1, REACH + 1)
    shares = np.linspace(0, PASSED, DESIGN_POINTS + 1)[1:]
    transfer = 2 * np.sin(np.pi * np.outer(shares, lags)) / (np.pi * shares[:, None])
    first, rest, count = transfer[:, 0], transfer[:, 1:], (1 - shares) ** 2
    others = np.linalg.lstsq((rest - np.outer(first, lags[1:])) * count[:, None], (1 - first / 2) * count, rcond=None)[
        0
    ]
    weights: Floats = np.concatenate([[0.5 - lags[1:] @ others], others])
    return weights
