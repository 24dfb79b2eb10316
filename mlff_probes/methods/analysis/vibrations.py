"""Velocity autocorrelation, vibrational density of states, and whether the samples are dense enough for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid

from mlff_probes.methods.analysis.statistics import Estimate, Unresolved, jackknife

Floats = NDArray[np.float64]

ACCELERATION = units.fs**2
"""One eV/(A u) in A/fs^2."""

THZ = 1000.0
"""One 1/fs in THz."""

COMPONENTS = 500
"""Components transformed at once: some 50 MB for 2,000 samples."""

WINDOW = "hann"
"""Its leakage falls with the cube of the distance, so that second moments of a spectrum of lines stay finite."""

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

SECOND_MOMENT_TOLERANCE = 0.1
"""Largest share of the mean squared frequency that the spectrum may lack.

Frequencies fold to lower ones only, so it is one-sided. Sampled densely enough, crystals lack 3 % at most; one
part in twenty of the power, folded from three times the mean frequency, lacks 30 %.
"""

EDGE = 0.8
"""Share of the Nyquist frequency above which a spectrum should have ended."""

EDGE_POWER = 0.03
"""Largest share of the power there: more, and the spectrum has probably not ended at the Nyquist frequency either."""

SAFE_NYQUIST = 3.0
"""Nyquist frequency to aim for, in root mean squared frequencies: a Debye spectrum ends at 1.3 of them, one with light
atoms among heavy ones at some 3."""


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
    weighted = _moving(velocities, masses, mask)
    count = weighted.shape[1]
    products = np.zeros(count)
    for part in _parts(weighted):
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
    and Khinchin) by Welch's method: Hann windows of at most 10 ps that overlap by half.
    The mean velocity is kept, so that diffusion shows at zero frequency.

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
    weighted = _moving(velocities, masses, mask)
    frequency, power = _power(weighted, interval_fs, window or weighted.shape[1] // STRETCHES)
    return frequency, power / trapezoid(power, frequency)


def mean_frequency(frequency: ArrayLike, dos: ArrayLike) -> float:
    """Mean of the frequency over a density of states, in the unit of the frequency."""
    grid, density = np.asarray(frequency, dtype=float), np.asarray(dos, dtype=float)
    return float(trapezoid(grid * density, grid) / trapezoid(density, grid))


def mean_frequency_estimate(
    velocities: ArrayLike, masses: ArrayLike, mask: ArrayLike, interval_fs: float, *, blocks: int = 10
) -> Estimate:
    """Mean frequency of the density of states, THz, with its interval by leaving out one window at a time.

    Each replica is cut into `blocks` stretches, each with a window of its length: the resolution is that of
    `density_of_states` for four blocks, and coarser for more. Other arguments as there.

    Raises
    ------
    Unresolved
        With too few independent windows, or fewer than `FEWEST_SAMPLES` samples in a block.
    ValueError
        As for `velocity_autocorrelation`.
    """
    frequency, spectra = power_spectra(velocities, masses, mask, interval_fs, blocks=blocks)
    replicas = np.shape(velocities)[0]
    return jackknife(lambda power: mean_frequency(frequency, power), spectra, replicas=replicas)


def power_spectra(
    velocities: ArrayLike, masses: ArrayLike, mask: ArrayLike, interval_fs: float, *, blocks: int = 10
) -> tuple[Floats, Floats]:
    """Frequencies, THz, shape (n_points,), and the power spectrum of each window, shape (n_windows, n_points).

    Windows are of one block and overlap by half: 2 blocks - 1 of each replica, replica by replica, in order of time.
    The power of neighbouring Hann windows is hardly correlated (by a thirty-sixth for noise), so that they say nearly
    twice as much as blocks that do not overlap. Their mean is proportional to the density of states, at the resolution
    of a block. Arguments and errors are those of `mean_frequency_estimate`.
    """
    weighted = _moving(velocities, masses, mask)
    length = weighted.shape[1] // blocks
    starts = [i * length // 2 for i in range(2 * blocks - 1)]
    parts = [replica[None, start : start + length] for replica in weighted for start in starts]
    spectra = [_power(part, interval_fs, length) for part in parts]
    return spectra[0][0], np.array([power for _, power in spectra])


def aliasing(
    velocities: ArrayLike, forces: ArrayLike, masses: ArrayLike, mask: ArrayLike, interval_fs: float
) -> str | None:
    """Why the samples are too far apart for a spectrum, in one sentence; None where they are close enough.

    The second moment of the spectrum of sqrt(m) v is <F^2/m> / <m v^2>, the mean squared angular frequency, whatever
    the interval of the samples. A spectrum whose own second moment is lower has frequencies above the Nyquist
    frequency folded into it. Nor may it have much power just below that frequency.

    The Hann window widens each line, which adds a third of the squared width of a bin to the second moment and is
    taken off. Copper in EMT keeps the rule within 2 %. A Langevin thermostat adds a tail of its own to the spectrum,
    as wide as the samples are dense: there the first test misses what the second, of the power near the Nyquist
    frequency, has to find. Where forces were not recorded, there is the second test alone.

    Parameters
    ----------
    velocities, forces
        A/fs and eV/A, shape (n_replicas, n_samples, n_atoms, 3); forces that are not finite were not recorded.
    masses, mask, interval_fs
        As for `density_of_states`.

    Raises
    ------
    Unresolved, ValueError
        As for `density_of_states`.
    """
    weighted = _moving(velocities, masses, mask)
    accelerations = _weighted(forces, 1 / np.asarray(masses, dtype=float), mask) * ACCELERATION
    if not np.any(accelerations):
        return None  # free flight: all at zero frequency
    known = bool(np.isfinite(accelerations).all())
    exact = (accelerations**2).sum() / (weighted**2).sum() / (2 * np.pi) ** 2 * THZ**2 if known else 0.0
    frequency, dos = density_of_states(velocities, masses, mask, interval_fs)
    sampled = trapezoid(frequency**2 * dos, frequency) - frequency[1] ** 2 / 3
    nyquist = frequency[-1]
    edge = frequency >= EDGE * nyquist
    power = trapezoid(dos[edge], frequency[edge])
    finer = min(THZ / (2 * SAFE_NYQUIST * np.sqrt(exact)), interval_fs / 2) if known else interval_fs / 2
    mend = f"record a sample every {finer:.2g} fs or less (a smaller sample_every)"
    if known and sampled < (1 - SECOND_MOMENT_TOLERANCE) * exact:
        return (
            f"samples every {interval_fs:g} fs fold the spectrum: its root mean squared frequency is "
            f"{np.sqrt(sampled):.3g} THz, but forces and velocities say {np.sqrt(exact):.3g} THz; {mend}"
        )
    if power > EDGE_POWER:
        return (
            f"samples every {interval_fs:g} fs hardly resolve the spectrum: {power:.0%} of it lies above "
            f"{EDGE:.0%} of the Nyquist frequency, {nyquist:.3g} THz; {mend}"
        )
    return None


def _moving(velocities: ArrayLike, masses: ArrayLike, mask: ArrayLike) -> Floats:
    """Velocities as of `_weighted`, of which one at least is not zero."""
    found = _weighted(velocities, masses, mask)
    if not np.any(found):
        raise ValueError("no atom, or none that moves: there is no spectrum")
    return found


def _weighted(vectors: ArrayLike, masses: ArrayLike, mask: ArrayLike) -> Floats:
    """Vectors of the chosen atoms times the root of their weight, shape (n_replicas, n_samples, 3 n_chosen)."""
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


def _power(weighted: Floats, interval_fs: float, longest: int) -> tuple[Floats, Floats]:
    """Frequencies, THz, and the power spectrum summed over atoms and replicas; windows of at most `longest` samples."""
    from scipy.signal import welch  # which brings scipy.stats along, in a fifth of a second

    length = min(longest, round(LONGEST_WINDOW_FS / interval_fs))
    length -= length % 2  # the last frequency is then the Nyquist frequency
    if length < FEWEST_SAMPLES:
        raise Unresolved(f"a spectrum of stretches of {length} samples, at least {FEWEST_SAMPLES} are needed")
    points = PADDED * length
    total: Floats = np.zeros(points // 2 + 1)
    for part in _parts(weighted):
        frequency, power = welch(part, THZ / interval_fs, WINDOW, nperseg=length, nfft=points, detrend=False, axis=0)
        total += power.sum(axis=1)
    total[[0, -1]] *= 2  # welch doubles all but these, which have no mirror image; the trapezoids halve them
    return frequency, total
