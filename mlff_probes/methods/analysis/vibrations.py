"""Velocity autocorrelation, vibrational density of states and its mean frequency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import rfft
from scipy.integrate import trapezoid

from mlff_probes.methods.analysis.statistics import Estimate, KnownScatter, Unresolved, jackknife

Floats = NDArray[np.float64]

FS_THZ = 1000.0
"""One 1/fs in THz."""

COMPONENTS = 500
"""Components transformed at once: some 50 MB for 2,000 samples."""

LONGEST_WINDOW_FS = 10_000.0
"""Longest stretch that is transformed, fs: the window's lines are then 0.15 THz wide, finer than any feature of a
density of states that is broadened by heat; what is longer goes into the average."""

PADDED = 4
"""Factor by which windows are padded with zeros: points close enough that a line drawn through those of
one spectrum can be compared with those of another."""

STRETCHES = 4
"""Least number of stretches that a replica is cut into (overlapping by half, they give 7 spectra to average): that of a
single stretch has errors of its own size however long it is."""

FEWEST_SAMPLES = 8
"""Fewest samples of a stretch: a spectrum of five points."""

PERIODS = 2.0
"""Fewest periods of the mean frequency in a window. The lines of a Hann window reach over two of its bins, and what
reaches below zero comes back above it. In two periods that raises the mean frequency by 0.2 % where the density of
states is Debye's and by 3 % where it is flat, and half as long a window shows it."""

PERIODS_OF_SHAPE = 4.0
"""Fewest periods in a window where the shape of the spectrum counts: lines are then a third of the mean frequency
wide."""


def velocity_autocorrelation(velocities: ArrayLike, masses: ArrayLike, mask: ArrayLike) -> Floats:
    """Normalised velocity autocorrelation by lag in samples, shape (n_samples,), 1 at lag 0.

    sum of m v(t) v(t + lag) over the atoms asked for, averaged over origins and replicas, over the same at lag 0. At
    long lags few origins are left.

    Parameters
    ----------
    velocities
        Any unit, shape (n_replicas, n_samples, n_atoms, 3).
    masses
        u, shape (n_atoms,).
    mask
        The atoms asked for, boolean of shape (n_atoms,) or indices.

    Raises
    ------
    ValueError
        Where shapes do not fit, no atom is asked for, or none moves.
    """
    moving = _moving(velocities, masses, mask)
    count = moving.shape[1]
    products = np.zeros(count)
    for part in _parts(moving):
        spectrum = np.fft.rfft(part, 2 * count, axis=0)
        products += np.fft.irfft((np.abs(spectrum) ** 2).sum(axis=1), 2 * count)[:count]
    products /= count - np.arange(count)
    found: Floats = products / products[0]
    return found


def density_of_states(
    velocities: ArrayLike, masses: ArrayLike, mask: ArrayLike, interval_fs: float, *, window: int | None = None
) -> tuple[Floats, Floats]:
    """Vibrational density of states: frequencies, THz, and density, 1/THz, of area 1 by trapezoids.

    The power spectrum of sqrt(m) v (the cosine transform of the velocity autocorrelation, by the theorem of Wiener
    and Khinchin) by Welch's method: Hann windows of at most 10 ps that overlap by half. Their leakage falls with the
    cube of the distance, so that second moments of a spectrum of lines stay finite. The mean velocity is kept, so that
    diffusion shows at zero frequency.

    Parameters
    ----------
    velocities, masses, mask
        As for `velocity_autocorrelation`.
    interval_fs
        Time between samples, fs.
    window
        Samples in a window; a quarter of the trajectory where it is not given.

    Raises
    ------
    Unresolved
        With fewer than `FEWEST_SAMPLES` samples in a window.
    ValueError
        As for `velocity_autocorrelation`.
    """
    samples = np.shape(velocities)[1]
    frequency, spectra = power_spectra(velocities, masses, mask, interval_fs, window=window or samples // STRETCHES)
    power = spectra.mean(axis=0)
    return frequency, power / trapezoid(power, frequency)


def mean_frequency(frequency: ArrayLike, dos: ArrayLike) -> float:
    """Mean of the frequency over a density of states, in the unit of the frequency."""
    grid, density = np.asarray(frequency, dtype=float), np.asarray(dos, dtype=float)
    return float(trapezoid(grid * density, grid) / trapezoid(density, grid))


def mean_frequency_estimate(
    velocities: ArrayLike, masses: ArrayLike, mask: ArrayLike, interval_fs: float, *, window: int
) -> Estimate:
    """Mean frequency of the density of states, THz, with its interval by leaving out one window at a time.

    The interval holds what windows of `power_spectra` scatter, what modes add whose energies were not seen to change
    (`mode_scatter`), and by how much the mean frequency is lower than in windows half as long, which is at least what
    the width of the lines does to it. Arguments are those of `power_spectra`.

    Raises
    ------
    Unresolved
        With too few independent windows and modes, or fewer than `PERIODS` of the mean frequency in a window.
    ValueError
        As for `velocity_autocorrelation`.
    """
    moving = np.asarray(velocities)
    of = moving, masses, mask, interval_fs
    frequency, spectra = power_spectra(*of, window=window)
    require_periods(mean_frequency(frequency, spectra.mean(axis=0)), window * interval_fs, PERIODS)
    known = mode_scatter(*of, window=window)
    found = spectral_estimate(lambda power: mean_frequency(frequency, power), spectra, len(moving), *known)
    coarser, coarse = power_spectra(*of, window=max(window // 2, FEWEST_SAMPLES))
    widened = abs(mean_frequency(coarser, coarse.mean(axis=0)) - found.value)
    return replace(found, uncertainty=found.uncertainty + widened)


def spectral_estimate(
    function: Callable[[Floats], float], spectra: Floats, replicas: int, modes: KnownScatter, unseen: float
) -> Estimate:
    """A frequency or a distance of frequencies, THz, of the mean of `power_spectra`, with its interval.

    By leaving out one window at a time, and by the number of modes where windows do not say it: `modes` and `unseen`
    are those of `mode_scatter`.

    Raises
    ------
    Unresolved
        With too few independent windows and modes.
    """
    found = jackknife(function, spectra, replicas=replicas, otherwise=modes)
    return replace(found, uncertainty=float(np.hypot(found.uncertainty, modes.half_width * np.sqrt(unseen))))


def require_periods(frequency: float, window_fs: float, periods: float) -> None:
    """Raise Unresolved where windows hold fewer periods of a frequency, THz, than are needed."""
    if problem := too_few_periods(frequency, window_fs, periods):
        raise Unresolved(problem)


def too_few_periods(frequency: float, window_fs: float, periods: float) -> str:
    """Why windows hold fewer periods of a frequency, THz, than are needed, and what helps; "" where they do not."""
    held = window_fs * frequency / FS_THZ
    if held >= periods:
        return ""
    return (
        f"windows of {window_fs:.3g} fs hold {held:.2g} periods of the mean frequency, {frequency:.3g} THz, and "
        f"at least {periods:g} are needed: simulate {periods / held:.1f} times as long, or more replicas"
    )


def mode_scatter(
    velocities: ArrayLike, masses: ArrayLike, mask: ArrayLike, interval_fs: float, *, window: int
) -> tuple[KnownScatter, float]:
    """What the number of modes says of the error of a mean frequency, THz, and the share that windows do not show.

    In a crystal each mode keeps the energy that it happens to have for many periods, and no window of the same
    simulation shows that it had another in the next one. Energies of modes scatter by their mean (a mode has two
    quadratic degrees of freedom), so that the mean frequency of N modes in one draw of them scatters by the width of
    the density of states over the root of N. What windows of `PERIODS` periods, all atoms together, scatter by less
    than that has not been seen, and counts once for each replica. (Where all atoms are taken, modes do not beat with
    each other, since they are orthogonal.) Arguments and errors are those of `power_spectra`.
    """
    replicas, atoms = np.shape(velocities)[0], len(np.asarray(masses))
    chosen = np.zeros(atoms, bool)
    chosen[np.asarray(mask)] = True
    everything = np.ones(atoms, bool)
    frequency, spectra = power_spectra(velocities, masses, everything, interval_fs, window=window)
    middle, variance = mean_frequency(frequency, spectra.mean(axis=0)), _variance(frequency, spectra) / (3 * atoms)
    short = min(max(round(PERIODS * FS_THZ / (middle * interval_fs)), FEWEST_SAMPLES), window)
    coarser, coarse = power_spectra(velocities, masses, everything, interval_fs, window=short)
    seen = float(np.var([mean_frequency(coarser, power) for power in coarse]))
    unseen = max(0.0, 1 - seen / variance) if variance > 0 else 0.0
    if not chosen.all():
        own = power_spectra(velocities, masses, chosen, interval_fs, window=window)
        variance = _variance(*own) / (3 * int(chosen.sum()))
    return KnownScatter(float(np.sqrt(variance / replicas)), 3.0 * int(chosen.sum()) * replicas), unseen


def _variance(frequency: Floats, spectra: Floats) -> float:
    """Variance of a density of states, THz^2, without what the window adds to it."""
    power = spectra.mean(axis=0)
    middle = mean_frequency(frequency, power)
    variance = trapezoid((frequency - middle) ** 2 * power, frequency) / trapezoid(power, frequency)
    return float(max(0.0, variance - bin_width(frequency) ** 2 / 3))


def bin_width(frequency: ArrayLike) -> float:
    """Distance of two independent frequencies, THz: the inverse of the length of a window."""
    grid = np.asarray(frequency, dtype=float)
    return float(PADDED * (grid[1] - grid[0]))


def power_spectra(
    velocities: ArrayLike, masses: ArrayLike, mask: ArrayLike, interval_fs: float, *, window: int
) -> tuple[Floats, Floats]:
    """Frequencies, THz, shape (n_points,), and the power spectrum of each window, shape (n_windows, n_points).

    Windows of so many samples are spread evenly over each replica, with an overlap of half or a little less, replica by
    replica, in order of time. The power of neighbouring Hann windows is hardly correlated (by a thirty-sixth for
    noise), so that they say nearly twice as much as windows that do not overlap. Their mean is proportional to the
    density of states, at the resolution of a window. Other arguments are those of `density_of_states`.

    Raises
    ------
    Unresolved
        With fewer than `FEWEST_SAMPLES` samples in a window, or fewer in a replica than in a window.
    ValueError
        As for `velocity_autocorrelation`.
    """
    moving = _moving(velocities, masses, mask)
    samples = moving.shape[1]
    length = min(window, round(LONGEST_WINDOW_FS / interval_fs))
    length -= length % 2  # the last frequency is then the Nyquist frequency
    if length < FEWEST_SAMPLES or length > samples:
        raise Unresolved(f"windows of {length} of {samples} samples, spectra need at least {FEWEST_SAMPLES}")
    starts = np.linspace(0, samples - length, max(2 * samples // length - 1, 1)).round().astype(int)
    spectra = [_window_power(replica[start : start + length]) for replica in moving for start in starts]
    frequency = np.asarray(np.arange(PADDED * length // 2 + 1) * FS_THZ / (PADDED * length * interval_fs), dtype=float)
    return frequency, np.array(spectra)


def _moving(velocities: ArrayLike, masses: ArrayLike, mask: ArrayLike) -> Floats:
    """Velocities as of `_weighted`, of which one at least is not zero."""
    found = weighted(velocities, masses, mask)
    if not np.any(found):
        raise ValueError("no atom, or none that moves: there is no spectrum")
    return found


def weighted(vectors: ArrayLike, masses: ArrayLike, mask: ArrayLike) -> Floats:
    """Vectors of the chosen atoms times the root of their weight.

    From shape (n_replicas, n_samples, n_atoms, 3) to (n_replicas, n_samples, 3 n_chosen).
    """
    everything, weights = np.asarray(vectors, dtype=float), np.asarray(masses, dtype=float)
    if everything.ndim != 4 or everything.shape[2:] != (len(weights), 3):
        raise ValueError(f"vectors {everything.shape} do not fit {len(weights)} masses")
    chosen = np.asarray(mask)
    found = everything[:, :, chosen] * np.sqrt(weights[chosen])[:, None]
    rows: Floats = found.reshape(*found.shape[:2], -1)
    return rows


def _parts(weighted: Floats) -> Iterator[Floats]:
    """Some components of one replica at a time, shape (n_samples, …): transforms of all would take much memory."""
    for replica in weighted:
        yield from np.array_split(replica, -(-replica.shape[1] // COMPONENTS), axis=1)


def _window_power(window: Floats) -> Floats:
    """Power spectrum of one window, shape (n_samples, n_components), summed over its components."""
    length = len(window)
    taper = np.hanning(length + 1)[:-1, None]
    total: Floats = np.zeros(PADDED * length // 2 + 1)
    for part in _parts(window[None]):
        total += (np.abs(rfft(taper * part, PADDED * length, axis=0)) ** 2).sum(axis=1)
    return total
