"""Velocities of a trajectory that carries positions alone."""

from __future__ import annotations

from functools import cache

import numpy as np
from ase.units import Bohr
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

REACH = 10
"""Samples on either side that a velocity is worked out from: with so many the band below is passed within 1 %."""

PASSED = 0.8
"""Share of the Nyquist frequency up to which differentiation is exact; a spectrum must end there
(`mlff_probes.methods.analysis.sampling.EDGE`)."""

FEWEST_DECIMALS, MOST_DECIMALS = 0, 6
"""Decimals that files carry; what more digits leave out does not show in a velocity."""

ON_GRID = 1e-9
"""How far a rounded number may be from its decimals: what is left of it in the units of this code."""

LOOKED_AT = 50
"""In so many frames, evenly spread, digits are counted."""

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


def rounding_step(positions: ArrayLike, cells: ArrayLike) -> float:
    """To how many A positions were rounded, seen in their digits; 0.0 where they have more than six decimals.

    In A, in bohr, or as parts of the cell vectors (of which it is the root mean square over the directions), whichever
    has fewest digits.

    Parameters
    ----------
    positions
        As they stand in the file, A, shape (n_samples, n_atoms, 3).
    cells
        A, shape (n_samples, 3, 3), rows are the cell vectors.
    """
    at, box = np.asarray(positions, dtype=float), np.asarray(cells, dtype=float)
    rows = np.unique(np.linspace(0, len(at) - 1, LOOKED_AT).astype(int))
    of_cell = float(np.sqrt((box[rows] ** 2).sum(axis=(1, 2)).mean() / 3))
    written = (at[rows], 1.0), (at[rows] / Bohr, Bohr), (at[rows] @ np.linalg.inv(box[rows]), of_cell)
    return max(unit * _power_of_ten(numbers) for numbers, unit in written)


def _power_of_ten(numbers: Floats) -> float:
    """The largest power of ten that all numbers are multiples of, 0.0 where it is below 1e-6."""
    for decimals in range(FEWEST_DECIMALS, MOST_DECIMALS + 1):
        if np.abs(numbers - numbers.round(decimals)).max() < ON_GRID:
            return float(10.0**-decimals)
    return 0.0


def rounding_noise(step: float, interval_fs: float) -> float:
    """Variance of a component of `velocities_from_positions`, (A/fs)^2, that positions rounded to `step`, A, bring.

    The errors of an atom that moves by more than a step between samples are independent, of variance step^2 / 12. Of
    one that moves by less they are alike in neighbouring samples, and bring less.
    """
    return float(2 * (_weights() ** 2).sum() * step**2 / 12 / interval_fs**2)


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
