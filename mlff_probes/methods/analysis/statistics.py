"""What a correlated series says about its mean or its drift, and when it says too little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
"""Confidence of every interval here."""

MINIMUM_SAMPLES = 10
"""Fewest independent samples of an estimate: with fewer, the correlation time, and so the interval, is a guess.

Measured on first-order autoregressive series: of the intervals that are not refused, those of ten true samples hold
0.90 of the truths, of fifteen 0.93 to 0.94, from twenty on 0.93 to 0.98. The number is itself estimated, so it is no
full shield: of series of five true samples a third pass for ten or more, and their intervals hold but 0.73.
"""

OSCILLATION = 0.3
"""Depth of the autocorrelation below zero that tells an oscillation from noise."""

LOBES = 4
"""Length of a block of an oscillating series in inefficiencies, of which one is about half a period."""

MINIMUM_BLOCKS = 8
"""Fewest blocks of a replica whose correlation says anything."""

SHARE_OF_DEGREES = 0.5
"""Degrees of freedom of Student's t for each independent sample: the number of samples is itself an estimate.

Measured: with 1, intervals from 15 to 40 independent samples hold 0.91 to 0.93 of the truths, with 0.5 0.93 to 0.94.
"""

ITERATIONS = 20
"""Passes of the correction for the fitted mean, which converges geometrically (ratio: one over the samples)."""


ENOUGH_REPLICAS = 3
"""From three independent slopes on, Student's interval is narrow enough to say something (4.3 standard errors)."""


class Unresolved(ValueError):  # noqa: N818 - it is a verdict, not a mistake
    """The data hold too little for an answer; the message says why, in a line."""


@dataclass(frozen=True)
class Estimate:
    """A number, the half-width of its 95 % confidence interval, and the independent samples behind it.

    The interval is that of Student's t with `degrees` degrees of freedom; infinite where nothing varies.
    """

    value: float
    uncertainty: float
    samples: float
    degrees: float


def _estimate(value: float, error: float, samples: float, degrees: float) -> Estimate:
    return Estimate(float(value), float(quantile(degrees) * error), float(samples), float(degrees))


def require(samples: float, minimum: int = MINIMUM_SAMPLES) -> None:
    """Raise Unresolved where there are fewer independent samples than `minimum`."""
    if not samples >= minimum:
        shown = f"{samples:.0f}" if samples == int(samples) else f"{samples:.1f}"
        raise Unresolved(f"{shown} independent samples, at least {minimum} are needed")


def quantile(degrees: ArrayLike) -> Floats:
    """Half-width of the 95 % interval in standard errors: Student's t with these degrees of freedom (any shape)."""
    found: Floats = stdtrit(degrees, (1 + CONFIDENCE) / 2)
    return found


def statistical_inefficiency(series: ArrayLike) -> float:
    """Samples per independent sample, at least 1.

    Parameters
    ----------
    series
        Shape (n_replicas, n_samples), at equal intervals, in equilibrium.

    Notes
    -----
    g = 1 + 2 sum over lags of (1 - lag/n) C(lag)/C(0) (Chodera et al., J. Chem. Theory Comput. 3, 26 (2007)), C from
    all replicas about their common mean, so that replicas that stay apart count as one sample each. The sum ends by
    Geyer's initial monotone sequence (Stat. Sci. 7, 473 (1992)): pairs of neighbouring lags are summed as long as
    they are positive, each counted no higher than the one before. C about a mean of the same samples is too low by
    the variance of that mean, g C(0) / (all samples), which is added until it no longer changes. A series that
    oscillates is then averaged in blocks of g and asked again (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461
    (1989)): this finds a slow tail under a fast oscillation.

    Raises
    ------
    Unresolved
        With fewer than two samples in all.
    ValueError
        Where the shape is wrong, or a value is not finite.
    """
    values = _checked(series)
    return _inefficiency(values - values.mean(), fitted=1)


def mean(series: ArrayLike, *, fewest: int = MINIMUM_SAMPLES) -> Estimate:
    """Mean of a series of shape (n_replicas, n_samples), with its interval by Student's t.

    The standard error is s sqrt(g/n), s the standard deviation about the mean with n/g - 1 degrees of freedom, g the
    statistical inefficiency. A constant series has uncertainty 0 and as many samples as it is long.

    Raises
    ------
    Unresolved
        With fewer than `fewest` independent samples.
    """
    values = _checked(series)
    centre = float(values.mean())
    if _constant(values):
        require(values.size, fewest)
        return _estimate(centre, 0.0, values.size, np.inf)
    samples = values.size / statistical_inefficiency(values)
    require(samples, fewest)
    error = np.sqrt(values.var() / (samples - 1))
    return _estimate(centre, error, samples, SHARE_OF_DEGREES * (samples - 1))


def drift(time: ArrayLike, series: ArrayLike) -> Estimate:
    """Slope of one straight line through all replicas, each with its own intercept, per unit of time.

    Parameters
    ----------
    time
        Shape (n_samples,), at equal intervals, any unit.
    series
        Shape (n_replicas, n_samples).

    Notes
    -----
    Least squares; the standard error is multiplied by the root of the statistical inefficiency of the residuals. The
    intercepts beyond the first take one independent sample each, the line two degrees of freedom. Where that leaves
    fewer than `MINIMUM_SAMPLES`, as where the series is bent, the interval is Student's of the slopes of the replicas,
    which are independent however slowly each one wanders.

    Raises
    ------
    Unresolved
        With fewer than `MINIMUM_SAMPLES` independent samples left, and fewer than `ENOUGH_REPLICAS` replicas.
    """
    found = line(time, series)
    (replicas, count), residuals, inefficiency = found.residuals.shape, found.residuals, found.inefficiency
    if not residuals.any():
        require(residuals.size - replicas + 1)
        return _estimate(found.slope, 0.0, residuals.size - replicas + 1, np.inf)
    samples = residuals.size / inefficiency - replicas + 1
    if samples < MINIMUM_SAMPLES <= count and replicas >= ENOUGH_REPLICAS:
        return _estimate(found.slope, found.slopes.std(ddof=1) / np.sqrt(replicas), replicas, replicas - 1)
    require(samples)
    variance = (residuals**2).sum() / (residuals.size - inefficiency * (replicas + 1))
    error = np.sqrt(variance * inefficiency / (replicas * found.spread))
    return _estimate(found.slope, error, samples, SHARE_OF_DEGREES * (samples - 2))


@dataclass(frozen=True)
class Line:
    """One straight line through all replicas of a series, each with its own intercept.

    Attributes
    ----------
    slope, slopes
        Of all replicas, and of each of them, shape (n_replicas,).
    residuals
        What is left beside the line, shape (n_replicas, n_samples); exactly 0 where that is rounding.
    spread
        Sum of the squares of the times of one replica about their mean.
    inefficiency
        That of the residuals: samples per independent sample.
    """

    slope: float
    slopes: Floats
    residuals: Floats
    spread: float
    inefficiency: float


def line(time: ArrayLike, series: ArrayLike) -> Line:
    """The line of least squares through a series, without its interval: see `drift`.

    Raises
    ------
    Unresolved
        With fewer than two samples, or two different times.
    """
    values = _checked(series)
    centred = np.asarray(time, dtype=float)
    centred = centred - centred.mean()
    if centred.shape != values.shape[1:]:
        raise ValueError(f"{len(centred)} times for {values.shape[1]} samples")
    spread = float(centred @ centred)
    if spread == 0:
        raise Unresolved("a slope needs at least two different times")
    slopes = values @ centred / spread
    slope = float((values @ centred).mean() / spread)
    residuals = values - values.mean(axis=1, keepdims=True) - slope * centred
    if _constant(values, residuals):
        return Line(slope, slopes, np.zeros_like(values), spread, 1.0)
    return Line(slope, slopes, residuals, spread, _inefficiency(residuals, fitted=len(values) + 1))


@dataclass(frozen=True)
class KnownScatter:
    """A standard error that is known without the scatter of blocks, and the independent samples that make it so."""

    error: float
    samples: float

    @property
    def degrees(self) -> float:
        """Degrees of freedom of Student's t."""
        return max(SHARE_OF_DEGREES * (self.samples - 1), 1.0)

    @property
    def half_width(self) -> float:
        """Half-width of the 95 % interval."""
        return float(quantile(self.degrees)) * self.error


def jackknife(
    function: Callable[[Floats], float],
    blocks: ArrayLike,
    *,
    replicas: int = 1,
    witnesses: ArrayLike = (),
    otherwise: KnownScatter | None = None,
    fewest: int = MINIMUM_SAMPLES,
) -> Estimate:
    """A function of the mean of blocks of a trajectory, with its interval by leaving out one block at a time.

    Parameters
    ----------
    function
        Takes the mean of some blocks, shape (…), gives a number.
    blocks
        Shape (n_blocks, …), replica by replica, in order of time in each. They may be correlated; that is found out
        the better the more there are: of 48 independent ones 98 % are recognised as such, of 21 90 %, of 12 45 %.
    replicas
        How many there are, each of as many blocks.
    witnesses
        Other quantities by block, shape (n_witnesses, n_blocks), with less noise than what the block adds to the
        function: where there are too few independent samples of one of them, there are too few of the function.
    otherwise
        What holds, however correlated the blocks are: it makes the interval where too few of them are independent.
    fewest
        Fewest independent blocks.

    Notes
    -----
    What each block adds to the function (its pseudo-value, less their mean) is (n - 1) (mean of f - f without it):
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 11. The interval is that of the `mean` of
    these as a series: for independent blocks the standard error is that of the jackknife, for others larger by the
    root of their statistical inefficiency.

    Raises
    ------
    Unresolved
        With fewer than `fewest` independent blocks, or of the samples that would do otherwise.
    ValueError
        Where the replicas are not of equally many blocks.
    """
    values = np.asarray(blocks, dtype=float)
    count = len(values)
    if count % replicas:
        raise ValueError(f"{count} blocks of {replicas} replicas: each must have as many")
    whole = values.mean(axis=0)
    centre = float(function(whole))
    try:
        require(count, fewest)
        known = [
            mean(np.asarray(witness, dtype=float).reshape(replicas, -1), fewest=fewest).samples
            for witness in np.asarray(witnesses)
        ]
        left_out = np.array([function((whole * count - block) / (count - 1)) for block in values])
        if _constant(left_out):
            return _estimate(centre, 0.0, min([count, *known]), np.inf)
        found = mean(((count - 1) * (left_out.mean() - left_out)).reshape(replicas, -1), fewest=fewest)
    except Unresolved:
        if otherwise is None:
            raise
        require(otherwise.samples, fewest)
        return _estimate(centre, otherwise.error, otherwise.samples, otherwise.degrees)
    samples = min([found.samples, *known])
    error = found.uncertainty / float(quantile(found.degrees))
    return _estimate(centre, error, samples, SHARE_OF_DEGREES * (samples - 1))


def _checked(series: ArrayLike) -> Floats:
    values = np.asarray(series, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"a series must have the shape (n_replicas, n_samples), found {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the series holds values that are not finite")
    if values.size < 2:
        require(values.size)
    return values


def _constant(values: Floats, residuals: Floats | None = None) -> bool:
    """Whether values (or what is left of them) vary by no more than rounding."""
    left = values - values.mean() if residuals is None else residuals
    return bool(np.abs(left).max() <= 8 * np.finfo(float).eps * np.abs(values).max())


def _inefficiency(residuals: Floats, fitted: int) -> float:
    """Inefficiency of residuals of a fit, from its number of parameters: where they oscillate, also of their blocks."""
    if _constant(residuals, residuals) or residuals.shape[1] < 2:
        return 1.0
    covariance = _autocovariance(residuals)
    plain = _summed(covariance, fitted / residuals.size)
    length = int(np.ceil(LOBES * plain))
    count = residuals.shape[1] // length
    if count < MINIMUM_BLOCKS or covariance[: len(covariance) // 2].min() > -OSCILLATION * covariance[0]:
        return plain
    blocks = residuals[:, : count * length].reshape(len(residuals), count, length).mean(axis=2)
    if _constant(residuals, blocks):
        return plain  # whole periods
    again = _summed(_autocovariance(blocks), fitted / blocks.size)
    return float(max(plain, length * again * (blocks**2).mean() / (residuals**2).mean()))


def _autocovariance(residuals: Floats) -> Floats:
    """Mean product of residuals some lag apart, over origins and replicas, shape (n_samples,)."""
    length = residuals.shape[1]
    spectrum = np.fft.rfft(residuals, 2 * length, axis=1)
    products = np.fft.irfft(np.abs(spectrum) ** 2, 2 * length, axis=1)[:, :length].mean(axis=0)
    found: Floats = products / (length - np.arange(length))
    return found


def _summed(covariance: Floats, fitted_share: float) -> float:
    """1 + 2 sum of the normalised autocovariance, weighted and cut off as in `statistical_inefficiency`."""
    length = len(covariance)
    weights = 1 - np.arange(length) / length
    found = 1.0
    for _ in range(ITERATIONS):
        lost = min(found * fitted_share, 0.5)
        normalised = weights * (covariance / covariance[0] * (1 - lost) + lost)
        pairs = normalised[: length // 2 * 2].reshape(-1, 2).sum(axis=1)
        negative = np.flatnonzero(pairs <= 0)
        kept = np.minimum.accumulate(pairs[: negative[0] if len(negative) else len(pairs)])
        found = max(1.0, 2 * float(kept.sum()) - 1)
    return found
