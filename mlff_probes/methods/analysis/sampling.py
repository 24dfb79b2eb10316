"""Whether samples are dense enough, long enough and clean enough for a spectrum of vibrations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid

from mlff_probes.core.trajectory import Trajectory
from mlff_probes.methods.analysis.statistics import Unresolved
from mlff_probes.methods.analysis.vibrations import (
    FEWEST_SAMPLES,
    FS_THZ,
    bin_width,
    density_of_states,
    mean_frequency,
    weighted,
)

Floats = NDArray[np.float64]

ACCELERATION = units.fs**2
"""One eV/(A u) in A/fs^2."""

SECOND_MOMENT_TOLERANCE = 0.1
"""Largest share of the mean squared frequency that the spectrum may lack.

Frequencies fold to lower ones only, so it is one-sided. Sampled densely enough, crystals lack 3 % at most; one
part in twenty of the power, folded from three times the mean frequency, lacks 30 %.
"""

MEAN_ABOVE_RMS = 0.05
"""By how much the mean frequency of a spectrum may be above the root mean squared frequency of the same atoms.

It cannot be above it at all; a Debye spectrum has its mean 3 % below. The rest is left to the scatter of few samples.
"""

EDGE = 0.8
"""Share of the Nyquist frequency above which a spectrum should have ended."""

EDGE_POWER = 0.03
"""Largest share of the power there: more, and the spectrum has probably not ended at the Nyquist frequency either."""

SAFE_NYQUIST = 3.0
"""Nyquist frequency to aim for, in root mean squared frequencies: a Debye spectrum ends at 1.3 of them, one with light
atoms among heavy ones at some 3."""

STIFFEST_EV_A2 = 80.0
"""Mass times squared angular frequency that no atom exceeds, eV/A^2: tungsten 36, an O-H bond 52, H2 72, diamond 79;"""

STIFFEST_MULTIPLE_EV_A2 = 300.0
MULTIPLE_BONDS_U = (10.0, 17.0)
"""more only for boron to oxygen, by mass, whose bonds may be double or triple: graphite 113, N2 286."""

NOISE = 0.02
"""Largest share of the mean frequency that may come from above what atoms of their mass can reach."""


STRAIGHT = 1e-6
"""Change of velocities, relative to the largest, below which a flight is straight: files carry some eight digits."""


@dataclass(frozen=True)
class Sampled:
    """What samples show of the vibrations of some atoms.

    Attributes
    ----------
    interval_fs
        Time between samples, fs.
    frequency, dos
        Frequencies, THz, and density of states, 1/THz.
    second_moment
        Mean squared frequency of the spectrum, THz^2, without what the window adds to it.
    exact
        The same from forces and velocities, THz^2; None without forces.
    highest
        The frequency, THz, that atoms of these masses cannot exceed.
    lightest
        The mass, u, of the atoms that could.
    rounded, noise
        To how many A positions were rounded that velocities were worked out from, and what share of the power is noise
        for that.
    """

    interval_fs: float
    frequency: Floats
    dos: Floats
    second_moment: float
    exact: float | None
    highest: float
    lightest: float
    rounded: float = 0.0
    noise: float = 0.0

    @property
    def nyquist(self) -> float:
        """The highest frequency that the samples can show, THz."""
        return nyquist(self.interval_fs)

    @property
    def edge(self) -> float:
        """Share of the power near the Nyquist frequency."""
        edge = self.frequency >= EDGE * self.nyquist
        return float(trapezoid(self.dos[edge], self.frequency[edge]))

    @property
    def unseen(self) -> float:
        """Share of the power that the samples may have missed: what is seen at the edge, or what the forces ask for."""
        lacking = 0.0 if self.exact is None else 1 - self.second_moment / self.exact
        return max(self.edge, lacking)


def nyquist(interval_fs: float) -> float:
    """The highest frequency, THz, that samples at this interval can show."""
    return FS_THZ / (2 * interval_fs)


def sampled(
    velocities: ArrayLike, forces: ArrayLike, masses: ArrayLike, mask: ArrayLike, interval_fs: float
) -> Sampled | None:
    """What samples show of the vibrations of some atoms; None in free flight, where no force acts.

    Parameters
    ----------
    velocities, forces
        A/fs and eV/A, shape (n_replicas, n_samples, n_atoms, 3). Forces that are not finite were not recorded, nor
        were those that are all zero while velocities change.
    masses, mask, interval_fs
        As for `density_of_states`.

    Notes
    -----
    The second moment of the spectrum of sqrt(m) v is <F^2/m> / <m v^2>, the mean squared angular frequency, whatever
    the interval of the samples. The Hann window widens each line, which adds a third of the squared width of a bin to
    the second moment and is taken off.

    Raises
    ------
    Unresolved, ValueError
        As for `density_of_states`.
    """
    moving = weighted(velocities, masses, mask)
    accelerations = weighted(forces, 1 / np.asarray(masses, dtype=float), mask) * ACCELERATION
    acting = bool(np.any(accelerations))
    if not acting and np.ptp(moving, axis=1).max() <= STRAIGHT * np.abs(moving).max():
        return None
    rows = np.isfinite(accelerations).all(axis=2)
    exact = None
    if acting and rows.any():
        exact = rms_frequency(velocities, forces, masses, mask) ** 2
    frequency, dos = density_of_states(velocities, masses, mask, interval_fs)
    second = float(trapezoid(frequency**2 * dos, frequency)) - bin_width(frequency) ** 2 / 3
    of_mask = np.asarray(masses, dtype=float)[np.asarray(mask)]
    reach = highest_frequency(of_mask)
    fastest = int(np.argmax(reach))
    return Sampled(interval_fs, frequency, dos, second, exact, float(reach[fastest]), float(of_mask[fastest]))


def sampled_motion(trajectory: Trajectory, mask: NDArray[np.bool_]) -> Sampled | None:
    """What a trajectory shows of the vibrations of some atoms (`sampled`), by its samples whose velocities are known.

    Raises
    ------
    Unresolved
        If these are fewer than a spectrum needs.
    """
    t = trajectory.moving
    if t.samples < FEWEST_SAMPLES:
        raise Unresolved(f"{t.samples} samples with velocities, at least {FEWEST_SAMPLES} are needed")
    found = sampled(t.velocities, t.forces, t.masses, mask, t.interval_fs)
    return None if found is None else replace(found, rounded=t.rounded, noise=t.noise_of(mask))


def rms_frequency(velocities: ArrayLike, forces: ArrayLike, masses: ArrayLike, mask: ArrayLike) -> float:
    """Root mean squared frequency, THz: sqrt(<F^2/m> / <m v^2>) / 2 pi, of the samples whose forces are finite.

    Parameters are those of `sampled`.
    """
    moving = weighted(velocities, masses, mask)
    accelerations = weighted(forces, 1 / np.asarray(masses, dtype=float), mask) * ACCELERATION
    rows = np.isfinite(accelerations).all(axis=2)
    square = (accelerations[rows] ** 2).sum() / (moving[rows] ** 2).sum()
    return float(np.sqrt(square) / (2 * np.pi) * FS_THZ)


def highest_frequency(masses: ArrayLike) -> Floats:
    """The frequency, THz, that an atom of each mass, u, cannot exceed, from the stiffest bonds that there are."""
    mass = np.asarray(masses, dtype=float)
    multiple = (mass > MULTIPLE_BONDS_U[0]) & (mass < MULTIPLE_BONDS_U[1])
    stiffness = np.where(multiple, STIFFEST_MULTIPLE_EV_A2, STIFFEST_EV_A2)
    found: Floats = np.sqrt(stiffness / mass * ACCELERATION) / (2 * np.pi) * FS_THZ
    return found


def aliasing(found: Sampled) -> str | None:
    """Why the samples are too far apart for a spectrum, in one sentence; None where they are close enough.

    A spectrum whose second moment is lower than that of forces and velocities has frequencies above the Nyquist
    frequency folded into it. Nor may it have much power just below that frequency. Copper in EMT keeps the first rule
    within 2 %. A Langevin thermostat adds a tail of its own to the spectrum, as wide as the samples are dense: there
    the first test misses what the second has to find.

    Without forces a line that was folded looks like any other: then the Nyquist frequency must be above all that atoms
    of their mass can reach, and nothing be seen beyond that.
    """
    known, interval = found.exact, found.interval_fs
    finer = interval / 2 if known is None else min(FS_THZ / (2 * SAFE_NYQUIST * np.sqrt(known)), interval / 2)
    mend = f"record a sample every {finer:.2g} fs or less (a smaller sample_every)"
    if known is not None and found.second_moment < (1 - SECOND_MOMENT_TOLERANCE) * known:
        return (
            f"samples every {interval:g} fs fold the spectrum: its root mean squared frequency is "
            f"{np.sqrt(found.second_moment):.3g} THz, but forces and velocities say {np.sqrt(known):.3g} THz; {mend}"
        )
    if found.edge > EDGE_POWER and found.noise > NOISE:
        return _few_digits(found)
    if found.edge > EDGE_POWER:
        return (
            f"samples every {interval:g} fs hardly resolve the spectrum: {found.edge:.0%} of it lies above "
            f"{EDGE:.0%} of the Nyquist frequency, {found.nyquist:.3g} THz; {mend}"
        )
    if known is None and found.nyquist < found.highest:
        return (
            f"samples every {interval:g} fs show no frequency above {found.nyquist:.3g} THz, and without forces nobody "
            f"knows whether atoms of {found.lightest:.3g} u have any: they could reach {found.highest:.3g} THz; record "
            f"a sample every {FS_THZ / (2 * found.highest):.2g} fs or less, or the forces"
        )
    return None


def impossible(found: Sampled) -> str | None:
    """Why the spectrum cannot be that of the atoms, in one sentence; None where it can be.

    The mean frequency is never above the root mean squared one, which forces and velocities give. Without forces,
    nothing should be above what atoms of their mass can reach.
    """
    seen = mean_frequency(found.frequency, found.dos)
    too_few = _few_digits(found) if found.noise * found.nyquist > NOISE * seen else ""
    if found.exact is not None:
        if seen <= (1 + MEAN_ABOVE_RMS) * np.sqrt(found.exact) + bin_width(found.frequency) / np.sqrt(3):
            return None
        return too_few or (
            f"the mean frequency of the spectrum is {seen:.3g} THz, which cannot be above the root mean squared "
            f"frequency that forces and velocities say, {np.sqrt(found.exact):.3g} THz: noise is part of it"
        )
    beyond = found.frequency > found.highest
    share = trapezoid((found.frequency * found.dos)[beyond], found.frequency[beyond]) / seen
    if share <= NOISE:
        return None
    return too_few or (
        f"{share:.0%} of the mean frequency comes from above {found.highest:.3g} THz, which atoms of "
        f"{found.lightest:.3g} u cannot reach: noise is part of it (positions with too few digits, or a thermostat)"
    )


def _few_digits(found: Sampled) -> str:
    """That positions were rounded too coarsely for their differences to be velocities, and how to mend it."""
    return (
        f"positions are rounded to {found.rounded:.2g} A, so that {found.noise:.1%} of what their differences every "
        f"{found.interval_fs:g} fs show is noise; record them with more digits"
    )
