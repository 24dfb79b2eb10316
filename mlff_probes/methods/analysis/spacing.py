"""How far apart in time samples are, as positions and their derivatives say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlff_probes.methods.analysis.sampling import ACCELERATION

Floats = NDArray[np.float64]

SLOW = 0.05
"""Largest share of the power above half of the Nyquist frequency: with more, differences say little of derivatives."""

FEWEST_NUMBERS, MOST_SAMPLES = 2000, 2000
"""With fewer numbers (three an atom and sample) the noise of a thermostat shows, and so many samples are enough."""


def spacing_by_velocities(positions: Floats, velocities: Floats, interval_fs: float) -> float | None:
    """How far apart samples seem to be, fs, by how far atoms get; None where they are too sparse, or nothing moves.

    ``(x(t + h) - x(t - h)) / 2h`` is the velocity but for the factor sin(w h) / (w h) of a vibration of angular
    frequency w. The factor is known from the spectrum of the velocities, in which only w h, the phase between samples,
    stands, and not what is said of h.

    Parameters
    ----------
    positions, velocities
        Unwrapped, A, and A/fs, shape (n_samples, n_atoms, 3).
    interval_fs
        The time between samples that is to be tested, fs.
    """
    x = positions[:MOST_SAMPLES]
    ratio = _ratio(
        velocities[: len(x)][1:-1], (x[2:] - x[:-2]) / (2 * interval_fs), lambda phase: np.sinc(phase / np.pi)
    )
    return None if ratio is None else interval_fs * ratio


def spacing_by_forces(positions: Floats, forces: Floats, masses: Floats, interval_fs: float) -> float | None:
    """The same by how atoms are accelerated; `forces` in eV/A, `masses` in u, shape (n_atoms,).

    ``(x(t + h) - 2 x(t) + x(t - h)) / h^2`` is the acceleration but for the factor (sin(w h / 2) / (w h / 2))^2. What a
    thermostat adds is not correlated with the forces. 0.0 where atoms are not accelerated along their forces.
    """
    x = positions[:MOST_SAMPLES]
    accelerations = forces[: len(x)][1:-1] * ACCELERATION / masses[:, None]
    second = (x[2:] - 2 * x[1:-1] + x[:-2]) / interval_fs**2
    ratio = _ratio(accelerations, second, lambda phase: np.sinc(phase / (2 * np.pi)) ** 2)
    return None if ratio is None else interval_fs * float(np.sqrt(max(ratio, 0.0)))


def _ratio(derivative: Floats, difference: Floats, passed: Callable[[Floats], Floats]) -> float | None:
    """The slope of `difference` over `derivative`, over what it should be: `passed` of the phase between samples."""
    if derivative.size < FEWEST_NUMBERS:
        return None
    window = np.hanning(len(derivative))[:, None, None]
    power = (np.abs(np.fft.rfft(derivative * window, axis=0)) ** 2).sum(axis=(1, 2))
    phase = np.linspace(0, np.pi, len(power))
    if not power.any() or power[phase > np.pi / 2].sum() > SLOW * power.sum():
        return None
    slope = (derivative * difference).sum() / (derivative**2).sum()
    return float(slope / (power @ passed(phase) / power.sum()))
