"""The diffusion coefficient, or the bound of it, that a mean squared displacement allows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import gammaincinv

from mlff_probes.methods.analysis.displacement import LAGS, LONGEST_SHARE, MSD
from mlff_probes.methods.analysis.statistics import CONFIDENCE, Unresolved, quantile, require

Floats = NDArray[np.float64]

CM2_S = 0.1
"""Diffusion coefficient in cm^2/s of one A^2/fs: 1e-16 cm^2 in 1e-15 s."""

M2 = 1e-20
"""One A^2 in m^2."""

FITTED_LAGS = 20
"""Most lags of a fit: overlapping windows make neighbouring lags nearly the same number, so more add only time."""

FEWEST_LAGS = 5
"""Fewest lags of a fit of a line."""

BALLISTIC_FS = 1000.0
"""Lags before this are left out of the fit, fs.

Velocities of atoms in solids and liquids forget their direction within some periods of their vibration, which is less
than 1 ps but for the softest modes; Langevin friction of 0.01 / fs takes 0.1 ps. What vibration adds to later lags is
constant, and goes into the intercept.
"""

ROUNDING = 1e-9
"""A lag that is the longest one but for rounding counts."""

SUPERDIFFUSIVE = 1.3
"""Power of time above which (by two standard errors) the mean squared displacement is not diffusive: ballistic is 2."""

DEGREES_OF_SAMPLE = 0.25
"""Degrees of freedom of Student's t for each window: the variances that kinisi is given are themselves estimated.

Measured: without, intervals of walkers that hop some 80 to 500 times hold 0.91 to 0.93 of the truths.
"""

WALKERS = 16
BURN_IN = 150
THINNING = 5
"""Steps of the Markov chain of two parameters, whose autocorrelation time is some 20 steps."""

SEED = 20240627
"""Seed of the Markov chain, so that the same trajectory gives the same number."""


@dataclass(frozen=True)
class LinearFit:
    """The straight line MSD = slope lag + intercept from start_fs to end_fs; slope in A^2/fs, intercept in A^2."""

    start_fs: float
    end_fs: float
    slope: float
    intercept: float


@dataclass(frozen=True)
class Diffusion:
    """A diffusion coefficient, or an upper bound of it.

    Attributes
    ----------
    value
        cm^2/s; where `upper_bound`, the upper limit at 95 % confidence.
    uncertainty
        Half-width of the 95 % interval, cm^2/s; where `upper_bound`, the value itself.
    upper_bound
        Whether the atoms moved too little for more than a bound.
    reason
        What was found, in one sentence.
    samples
        Windows that do not overlap, of the lag at which the mean squared displacement passes half the squared hop
        length (of the longest usable lag, where it does not): roughly the hops seen.
    fit
        The line, None for a bound.
    """

    value: float
    uncertainty: float
    upper_bound: bool
    reason: str
    samples: float
    fit: LinearFit | None


def diffusion(found: MSD, *, hop_length: float, chain: int = 1000) -> Diffusion:
    """Diffusion coefficient of some atoms in three dimensions, cm^2/s.

    Parameters
    ----------
    found
        From `mean_squared_displacement`. Atoms and replicas count as independent.
    hop_length
        Distance between neighbouring sites, A.
    chain
        Steps of the Markov chain. From 200 on, it matters by less than a tenth of the uncertainty.

    Notes
    -----
    Where the mean squared displacement passes half the squared hop length, D is a sixth of the slope of the line that
    kinisi fits by Bayesian regression (McCluskey, Coles and Morgan, J. Chem. Theory Comput. 21, 79 (2025)) from 1 ps
    on. kinisi takes the variances from the displacements themselves; with few atoms these are small where the
    displacements happen to be, so that the fit follows the low ones and trusts itself too much (82 % of the truths
    for a single atom, D 10 % too low; 91 and 2 % for six). It is given 2/3 MSD^2, that of a Gaussian displacement,
    times the excess seen, on a first line.

    Otherwise hops are Poisson events, MSD N / hop_length^2 of them (rounded up) in N atoms within the longest lag t;
    with n_up the upper limit of their number, chi2(0.95; 2 n + 2) / 2, D < hop_length^2 n_up / (6 N t).

    Raises
    ------
    Unresolved
        With too few samples, too few lags after 1 ps, or where the displacement is still ballistic.
    """
    half = hop_length**2 / 2
    if found.msd[-1] < half:
        return _bound(found, hop_length)
    samples = float(found.samples[np.argmax(found.msd >= half)])
    require(samples)
    chosen = _linear_part(found)
    slopes, intercepts = _posterior(found, chosen, chain)
    low, high = np.quantile(slopes, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) * CM2_S / 6
    start, end = found.lag_fs[chosen[[0, -1]]]
    value = float(slopes.mean() * CM2_S / 6)
    widened = quantile(DEGREES_OF_SAMPLE * samples) / quantile(np.inf)
    return Diffusion(
        value,
        float(max(high - value, value - low) * widened),
        False,
        f"the mean squared displacement grows linearly from {start / 1000:.3g} to {end / 1000:.3g} ps",
        samples,
        LinearFit(float(start), float(end), float(slopes.mean()), float(intercepts.mean())),
    )


def _bound(found: MSD, hop_length: float) -> Diffusion:
    """Upper limit from the hops that the displacement could hold."""
    longest_fs = float(found.lag_fs[-1])
    hops = math.ceil(found.msd.max() * found.walkers / hop_length**2)
    most = float(gammaincinv(hops + 1, CONFIDENCE))  # chi2(0.95; 2 n + 2) / 2
    value = hop_length**2 * most / (6 * found.walkers * longest_fs) * CM2_S
    reason = (
        f"the mean squared displacement reaches {found.msd[-1]:.2g} A^2 in {longest_fs / 1000:.3g} ps, less than half "
        f"the squared hop length ({hop_length**2 / 2:.2g} A^2): an upper bound only"
    )
    return Diffusion(value, value, True, reason, float(found.samples[-1]), None)


def too_few_lags(duration_fs: float, interval_fs: float) -> str:
    """Why a trajectory is too short for a slope, and how long it must be; "" where it is not."""
    longest = duration_fs * LONGEST_SHARE
    spacing = max(interval_fs, longest / LAGS)
    late = int(np.count_nonzero(np.arange(1, int(longest / spacing + ROUNDING) + 1) * spacing >= BALLISTIC_FS))
    return "" if late >= FEWEST_LAGS else _few_lags(late, spacing)


def _few_lags(late: int, spacing_fs: float) -> str:
    needed_fs = (BALLISTIC_FS + (FEWEST_LAGS - 1) * spacing_fs) / LONGEST_SHARE
    return (
        f"{late} lags between {BALLISTIC_FS / 1000:g} ps, where displacements stop being ballistic, and half the "
        f"trajectory, at least {FEWEST_LAGS} are needed: simulate {needed_fs / 1000:.2g} ps or more"
    )


def _linear_part(found: MSD) -> NDArray[np.int_]:
    """Indices of the lags to fit: from the end of the ballistic part on, evenly."""
    late = np.flatnonzero(found.lag_fs >= BALLISTIC_FS)
    if len(late) < FEWEST_LAGS:
        raise Unresolved(_few_lags(len(late), float(np.diff(found.lag_fs).max(initial=0.0))))
    later = min(int(np.searchsorted(found.lag_fs[late], 3 * found.lag_fs[late[0]])), len(late) - 1)
    ends = late[[0, later]]
    span = np.log(found.lag_fs[ends[1]] / found.lag_fs[ends[0]])
    power = np.log(found.msd[ends[1]] / found.msd[ends[0]]) / span
    error = np.sqrt((found.variance[ends] / found.samples[ends] / found.msd[ends] ** 2).sum()) / span
    if power - 2 * error > SUPERDIFFUSIVE:
        raise Unresolved(
            f"the mean squared displacement still grows with the power {power:.2f} of time after "
            f"{found.lag_fs[ends[0]] / 1000:.3g} ps: it is not diffusive yet"
        )
    chosen: NDArray[np.int_] = late[
        np.unique(np.linspace(0, len(late) - 1, min(FITTED_LAGS, len(late))).round().astype(int))
    ]
    return chosen


def _variances(found: MSD, chosen: NDArray[np.int_]) -> Floats:
    """Variances of the mean squared displacements, A^4, on a line through them instead of on themselves."""
    lags, msd, samples = found.lag_fs[chosen], found.msd[chosen], found.samples[chosen]
    weights = np.sqrt(samples) / msd
    (slope, intercept), _ = nnls(np.column_stack([lags, np.ones_like(lags)]) * weights[:, None], msd * weights)
    gaussian = 2 / 3
    excess = np.maximum(1.0, found.variance[chosen] / (gaussian * msd**2))
    result: Floats = gaussian * (slope * lags + intercept) ** 2 * excess / samples
    return result


def _posterior(found: MSD, chosen: NDArray[np.int_], chain: int) -> tuple[Floats, Floats]:
    """Slopes (A^2/fs) and intercepts (A^2) of kinisi's posterior."""
    import scipp
    from kinisi.diffusion import Diffusion as Regression

    along = partial(scipp.array, dims=["time interval"])
    # In m^2, because kinisi starts its walkers 1e-20 from the origin: in A^2 they would take long to spread.
    data = scipp.DataArray(
        along(values=found.msd[chosen] * M2, variances=_variances(found, chosen) * M2**2, unit="m^2"),
        coords={
            "time interval": along(values=found.lag_fs[chosen], unit="fs"),
            "n_samples": along(values=found.samples[chosen]),
        },
    )
    regression = Regression(scipp.DataGroup({"da": data, "dimensionality": scipp.scalar(3)}))
    with _seeded():
        regression.bayesian_regression(
            start_dt=data.coords["time interval"][0],
            n_samples=chain,
            n_walkers=WALKERS,
            n_burn=BURN_IN,
            n_thin=THINNING,
            progress=False,
        )
    return regression.gradient.values / M2, regression.intercept.values / M2


@contextmanager
def _seeded() -> Iterator[None]:
    """Numpy's global random numbers, which kinisi draws from, seeded within and as before after; no warnings."""
    before = np.random.get_state()
    np.random.seed(SEED)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(before)
