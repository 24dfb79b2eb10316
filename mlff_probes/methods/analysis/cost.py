"""What a call costs, by the number of atoms: overhead, slope and exponent, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlff_probes.methods.analysis.statistics import CONFIDENCE, Unresolved

Floats = NDArray[np.float64]
Fits = tuple[Floats, Floats, Floats]
"""Overheads in s, factors in s (of `REFERENCE_ATOMS` atoms) and exponents, each of shape (n_fits,)."""

REFERENCE_ATOMS = 1000
"""Atoms at which the slope is stated."""

FEWEST_SIZES = 4
"""Fewest sizes of a fit of three parameters: one more, so that their scatter shows."""

LEAST_SPAN = 3.0
"""Least ratio of the largest size to the smallest: within it a power of the size is as good as a straight line."""

LOWEST_EXPONENT, HIGHEST_EXPONENT = 0.5, 3.0
"""Bounds of the exponent: a neighbour list of all pairs has 2, a dense matrix inverted at each call 3."""

COARSE = np.linspace(LOWEST_EXPONENT, HIGHEST_EXPONENT, 51)
"""Exponents that are tried first."""

FINER = np.linspace(-1, 1, 11)
"""Exponents tried about the best, in steps between the last ones: each pass resolves five times as finely."""

PASSES, PASSES_OF_DRAWS = 9, 2
"""Finer passes: exponents to 1e-7 (with 2: to 2e-3)."""

DRAWS = 2000
"""Repetitions of the bootstrap.

Measured: with other draws the ends of an interval move by some 2 % of its width, with four sizes by up to 12 %.
"""

SEED = 20240627
"""Seed of the bootstrap, so that the same times give the same numbers."""

MEDIAN_ERROR = float(np.sqrt(np.pi / 2))
"""Standard error of the median of normal numbers, in standard errors of their mean."""

MAD_SIGMA = 1.4826
"""Standard deviation of normal numbers in median absolute deviations: a slow call leaves it as it is."""


@dataclass(frozen=True)
class Bounded:
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CostModel:
    """Time of one call: overhead + slope N (N/1000)^(exponent - 1).

    Attributes
    ----------
    overhead_s
        Time of a call that does not depend on the number of atoms, s.
    slope_s_per_atom
        Time an atom takes in a system of 1,000 atoms, s.
    exponent
        1 where twice the atoms take twice the time (overhead apart). An interval that ends at a bound of the fit
        (0.5, 3) is cut off there.
    scatter
        Standard deviation of the medians about the model, relative to it.
    """

    overhead_s: Bounded
    slope_s_per_atom: Bounded
    exponent: Bounded
    scatter: float
    _fits: Fits = field(repr=False, compare=False)

    def predict(self, atoms: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Time of a call for some numbers of atoms, and the ends of its 95 % interval, s; each of the shape of `atoms`.

        The interval is that of the model, as of a mean of many runs; one measurement scatters about it.
        """
        sizes = np.asarray(atoms, dtype=float)
        if not (np.isfinite(sizes).all() and (sizes > 0).all()):
            raise ValueError("a time is predicted of positive numbers of atoms")
        fit = (self.overhead_s.value, self.slope_s_per_atom.value * REFERENCE_ATOMS, self.exponent.value)
        time = _model(sizes, *map(np.asarray, fit))
        low, high = _ends(_model(sizes, *self._fits))
        return time, np.minimum(low, time), np.maximum(high, time)


def cost_model(atoms: ArrayLike, seconds: Sequence[ArrayLike]) -> CostModel:
    """Fit the time of a call against the number of atoms.

    Parameters
    ----------
    atoms
        Sizes, shape (n_sizes,).
    seconds
        For each size its timed calls, s, each of shape (n_calls,), at least one.

    Notes
    -----
    t(N) = t0 + slope N (N/1000)^(p - 1), t0 >= 0, slope >= 0, 0.5 <= p <= 3, is fitted to the medians of the calls,
    each weighted by its inverse (least squares of relative deviations); at given p this is linear in the others.

    The intervals are the quantiles of a parametric bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap
    (1993), chapter 6): the fit is repeated on its own times with normal noise. Its relative standard deviation is
    drawn, too, s sqrt(d / chi^2_d) with s that of the residuals and d = n_sizes - 3, so that few sizes give intervals
    as wide as Student's t would. It is at least, at each size, the standard error of the median as its own calls show
    it, sqrt(pi/2) 1.4826 MAD / sqrt(n_calls): residuals may be small by luck.

    Measured: of the intervals of overhead, slope, exponent and the time at 10,000 atoms, from six or four sizes of 20
    to 1,000 atoms with 3 and 10 % noise, and exponents of 1, 1.2 and 2, 0.93 to 0.99 hold the truth (300 trials each).
    Where the sizes scatter by no more than the noise of their calls allows, it is 0.98 and more.

    Raises
    ------
    Unresolved
        With fewer than four sizes, with sizes within a factor of three, or where times do not grow with the atoms.
    ValueError
        Where a size has no calls, or a time or a size is not a positive, finite number.
    """
    sizes = np.asarray(atoms, dtype=float)
    calls = [np.asarray(of_size, dtype=float) for of_size in seconds]
    _check(sizes, calls)
    medians = np.array([np.median(of_size) for of_size in calls])
    errors = np.array([_error_of_median(of_size) for of_size in calls]) / medians
    weights = 1 / medians
    fit = _fit(sizes, medians[None], weights, PASSES)
    overhead, factor, exponent = (float(found[0]) for found in fit)
    if factor == 0:
        raise Unresolved(
            f"the time does not grow from {sizes.min():.0f} to {sizes.max():.0f} atoms; larger systems are needed"
        )
    fitted = _model(sizes, *fit)[0]
    degrees = len(sizes) - 3
    scatter = float(np.sqrt(((medians / fitted - 1) ** 2).sum() / degrees))
    rng = np.random.default_rng(SEED)
    deviations = np.maximum(scatter * np.sqrt(degrees / rng.chisquare(degrees, DRAWS))[:, None], errors)
    drawn = fitted * (1 + deviations * rng.normal(size=deviations.shape))
    fits = _fit(sizes, drawn, weights, PASSES_OF_DRAWS)
    return CostModel(
        _bounded(overhead, fits[0]),
        _bounded(factor / REFERENCE_ATOMS, fits[1] / REFERENCE_ATOMS),
        _bounded(exponent, fits[2]),
        scatter,
        fits,
    )


def _check(sizes: Floats, calls: list[Floats]) -> None:
    if sizes.ndim != 1 or len(sizes) != len(calls):
        raise ValueError(f"calls of {len(calls)} sizes for an array of sizes of shape {sizes.shape}")
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ValueError("a size is not a positive, finite number of atoms")
    for size, of_size in zip(sizes, calls, strict=True):
        if of_size.ndim != 1 or not of_size.size:
            raise ValueError(f"{size:.0f} atoms: calls of shape {of_size.shape}, at least one in one row is needed")
        if not (np.isfinite(of_size).all() and (of_size > 0).all()):
            raise ValueError(f"{size:.0f} atoms: a time is not a positive, finite number of seconds")
    different = len(np.unique(sizes))
    if different < FEWEST_SIZES:
        raise Unresolved(f"{different} sizes, at least {FEWEST_SIZES} are needed")
    if sizes.max() < LEAST_SPAN * sizes.min():
        raise Unresolved(
            f"sizes from {sizes.min():.0f} to {sizes.max():.0f} atoms; the largest must be at least {LEAST_SPAN:g} "
            "times the smallest"
        )


def _error_of_median(calls: Floats) -> float:
    deviation = MAD_SIGMA * np.median(np.abs(calls - np.median(calls)))
    return float(MEDIAN_ERROR * deviation / np.sqrt(len(calls)))


def _bounded(value: float, draws: Floats) -> Bounded:
    low, high = _ends(draws)
    return Bounded(value, min(float(low), value), max(float(high), value))


def _ends(draws: Floats) -> Floats:
    """Ends of the interval of draws of shape (n_draws, …), shape (2, …)."""
    found: Floats = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return found


def _model(sizes: Floats, *fit: Floats) -> Floats:
    """Times in s, shape (*shape of the parameters, *shape of the sizes)."""
    overhead, factor, exponent = (found.reshape(found.shape + (1,) * sizes.ndim) for found in fit)
    times: Floats = overhead + factor * (sizes / REFERENCE_ATOMS) ** exponent
    return times


def _fit(sizes: Floats, times: Floats, weights: Floats, passes: int) -> Fits:
    """Weighted least squares with an overhead and a factor of at least 0.

    Parameters
    ----------
    sizes, weights
        Shape (n_sizes,).
    times
        Shape (n_fits, n_sizes), s.
    passes
        How often the exponents are refined.
    """
    logarithms, weighted = np.log(sizes / REFERENCE_ATOMS), times * weights
    every = np.arange(len(times))
    exponents, step = COARSE[None], COARSE[1] - COARSE[0]
    for done in range(passes + 1):
        power = np.exp(exponents[..., None] * logarithms) * weights
        # normal equations of overhead and factor at each exponent, shape (n_fits or 1, n_exponents)
        ones_ones, ones_power, power_power = weights @ weights, power @ weights, (power**2).sum(axis=-1)
        ones_times, power_times = (weighted @ weights)[:, None], (power @ weighted[..., None])[..., 0]
        determinant = ones_ones * power_power - ones_power**2
        overhead = (ones_times * power_power - power_times * ones_power) / determinant
        factor = (power_times * ones_ones - ones_times * ones_power) / determinant
        no_overhead, no_factor = overhead < 0, factor < 0
        overhead = np.where(no_factor, np.maximum(ones_times / ones_ones, 0), np.where(no_overhead, 0, overhead))
        factor = np.where(no_overhead, np.maximum(power_times / power_power, 0), np.where(no_factor, 0, factor))
        best = np.argmax(overhead * ones_times + factor * power_times, axis=1)  # what is explained of the squares
        exponent = np.broadcast_to(exponents, factor.shape)[every, best]
        if done < passes:
            exponents = np.clip(exponent[:, None] + step * FINER, LOWEST_EXPONENT, HIGHEST_EXPONENT)
            step *= FINER[1] - FINER[0]
    return overhead[every, best], factor[every, best], exponent
