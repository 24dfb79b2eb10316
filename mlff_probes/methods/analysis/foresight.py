"""What a longer simulation of the same kind will say, from its first part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlff_probes.methods.analysis import statistics
from mlff_probes.methods.analysis.diffusion import BALLISTIC_FS, CM2_S
from mlff_probes.methods.analysis.displacement import LONGEST_SHARE, MSD
from mlff_probes.methods.analysis.statistics import ENOUGH_REPLICAS, MINIMUM_SAMPLES, Estimate

OF_MEANS, OF_SLOPES = 0.5, 1.5
"""Powers of the length with which errors fall: a longer line has more samples and a longer lever."""

GAUSSIAN = 2 / 3
"""Variance of the squared displacement of a walker in three dimensions, as a part of the square of its mean."""


@dataclass(frozen=True)
class Foreseen:
    """What is expected of a quantity of a simulation that is `times` as long as its first part.

    Attributes
    ----------
    value, uncertainty_now
        What it is in the first part, and the half-width of its 95 % interval there, were its error known exactly.
    samples
        Independent samples of the whole simulation.
    times
        How many times as long as its first part the simulation is.
    power
        With which power of the length the uncertainty falls.
    """

    value: float
    uncertainty_now: float
    samples: float
    times: float
    power: float = OF_MEANS

    @property
    def uncertainty(self) -> float:
        """Half-width of the 95 % interval after the whole simulation."""
        return float(self.uncertainty_now / self.times**self.power)

    def longer(self, needed: float) -> float:
        """How many times as long the whole simulation must be for an uncertainty of `needed`; 1 where it is enough."""
        of_error = float((self.uncertainty / needed) ** (1 / self.power))
        return max(1.0, MINIMUM_SAMPLES / self.samples, of_error)


def mean(series: ArrayLike, times: float) -> Foreseen:
    """Foresee the mean of a series, shape (n_replicas, n_samples).

    The number of independent samples grows with the length, as the correlation time does not.
    """
    values = np.asarray(series, dtype=float)
    now = values.size / statistics.statistical_inefficiency(values)
    return Foreseen(float(values.mean()), _half_width(values.std() / np.sqrt(now)), now * times, times)


def drift(time: ArrayLike, series: ArrayLike, times: float) -> Foreseen:
    """Foresee the slope of a series, shape (n_replicas, n_samples), as long as what is beside the line does not grow.

    From `ENOUGH_REPLICAS` on, the slopes of the replicas tell the error, however few samples each of them holds.
    """
    line = statistics.line(time, series)
    replicas, count = line.residuals.shape
    error = np.sqrt((line.residuals**2).mean() * line.inefficiency / (replicas * line.spread))
    samples = times * replicas * count / line.inefficiency - replicas + 1
    if replicas >= ENOUGH_REPLICAS:
        samples = max(samples, float(MINIMUM_SAMPLES))
    return Foreseen(line.slope, _half_width(error), samples, times, OF_SLOPES)


def estimate(found: Estimate, times: float) -> Foreseen:
    """Foresee what an estimate from a longer simulation will say; `found` is that of the first part."""
    error = found.uncertainty / float(statistics.quantile(found.degrees))
    return Foreseen(found.value, _half_width(error), found.samples * times, times)


def displacement(first: MSD, times: float) -> float:
    """The mean squared displacement, A^2, that is reached at the longest lag, at most.

    What atoms moved within the longest lag of the first part, and as much again in each time of that length. Vibration,
    which does not grow, counts as diffusion here, so that more is expected than will be.
    """
    return float(first.msd.max() * times)


def diffusion(first: MSD, times: float, half_hop: float, duration_fs: float) -> Foreseen:
    """Foresee a diffusion coefficient, cm^2/s, if displacements are Gaussian.

    Parameters
    ----------
    first
        Of the first part.
    times
        How many times as long the simulation is.
    half_hop
        Half the squared hop length, A^2: windows that do not overlap, of the lag at which it is passed (at least those
        of a fit), are samples.
    duration_fs
        Of the first part.
    """
    slope = float(first.msd.max() / first.lag_fs[-1])
    lag = min(max(half_hop / slope, BALLISTIC_FS), times * duration_fs * LONGEST_SHARE)
    now = first.walkers * duration_fs / lag
    value = slope * CM2_S / 6
    return Foreseen(value, _half_width(value * np.sqrt(GAUSSIAN / now)), now * times, times)


def _half_width(error: float) -> float:
    return float(statistics.quantile(np.inf) * error)
