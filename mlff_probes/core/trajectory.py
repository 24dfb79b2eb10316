"""What a simulation leaves: samples of some replicas at equal intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from mlff_probes.core.structures import derived, made

Floats = NDArray[np.float64]

BOLTZMANN_EV_K = units.kB
KINETIC_EV = 1.0 / units.fs**2
"""Energy in eV of u (A/fs)^2: the unit of mass times velocity squared here."""


@dataclass(frozen=True)
class Trajectory:
    """Samples of replicas of one system.

    Attributes
    ----------
    numbers, masses
        Atomic numbers and masses in u, shape (n_atoms,).
    pbc
        Shape (3,).
    time_fs
        Time of each sample, fs, shape (n_samples,).
    positions
        Unwrapped, A, shape (n_replicas, n_samples, n_atoms, 3).
    velocities
        A/fs, of the same shape; NaN where they are not known.
    forces
        eV/A, of the same shape.
    energies
        Potential energies, eV, shape (n_replicas, n_samples).
    cells
        A, shape (n_replicas, n_samples, 3, 3), rows are the cell vectors.
    fixed_momentum
        Whether the total momentum is kept at zero, which takes three degrees of freedom away.
    system
        The structure whose samples these are, with the charge, spin and so on that they all have; None where only
        elements and masses are known.
    differentiated
        Whether the velocities were worked out from the positions; those of the first and the last samples are unknown.
    rounded
        To how many A the positions were rounded that velocities were worked out from; 0 where no digits are lacking.
    velocity_noise
        Variance of one component of a velocity that comes of this, (A/fs)^2; kinetic energies are without it.
    """

    numbers: NDArray[np.int64]
    masses: Floats
    pbc: NDArray[np.bool_]
    time_fs: Floats
    positions: Floats
    velocities: Floats
    forces: Floats
    energies: Floats
    cells: Floats
    fixed_momentum: bool = False
    system: Atoms | None = field(default=None, compare=False)
    differentiated: bool = False
    rounded: float = 0.0
    velocity_noise: float = 0.0

    @property
    def replicas(self) -> int:
        """How many replicas there are."""
        return len(self.positions)

    @property
    def samples(self) -> int:
        """How many samples of each replica there are."""
        return len(self.time_fs)

    @property
    def degrees_of_freedom(self) -> int:
        """The degrees of freedom among which the kinetic energy is shared."""
        return 3 * len(self.numbers) - 3 * self.fixed_momentum

    @property
    def interval_fs(self) -> float:
        """Time between two samples, fs."""
        return float(self.time_fs[1] - self.time_fs[0])

    @property
    def kinetic_energies(self) -> Floats:
        """Kinetic energies, eV, shape (n_replicas, n_samples)."""
        squares = np.einsum("rsax,rsax,a->rs", self.velocities, self.velocities, self.masses)
        noise = self.degrees_of_freedom * self.masses.mean() * self.velocity_noise
        energies: Floats = (squares - noise) * KINETIC_EV / 2
        return energies

    @property
    def noise_share(self) -> float:
        """Share of noise (`velocity_noise`) in the kinetic energy."""
        return self.noise_of(np.ones(len(self.numbers), bool))

    def noise_of(self, mask: NDArray[np.bool_]) -> float:
        """Share of noise (`velocity_noise`) in the kinetic energy of some atoms, shape (n_atoms,); 0 without noise."""
        if not self.velocity_noise:
            return 0.0
        squares = (self.velocities[:, :, mask] ** 2).mean(axis=(0, 1, 3))
        return float(self.velocity_noise * self.masses[mask].sum() / (self.masses[mask] @ squares))

    @property
    def drift(self) -> Floats:
        """Velocities of the centres of mass, A/fs, shape (n_replicas, n_samples, 3)."""
        found: Floats = np.einsum("rsax,a->rsx", self.velocities, self.masses) / self.masses.sum()
        return found

    def without_drift(self) -> Trajectory:
        """The same as the centre of mass sees it, with three degrees of freedom fewer; a single atom stays as it is."""
        if len(self.numbers) == 1:
            return self
        return replace(self, velocities=self.velocities - self.drift[:, :, None], fixed_momentum=True)

    @property
    def temperatures(self) -> Floats:
        """Temperatures, K, shape (n_replicas, n_samples)."""
        found: Floats = 2 * self.kinetic_energies / (self.degrees_of_freedom * BOLTZMANN_EV_K)
        return found

    @property
    def volumes(self) -> Floats:
        """Volumes, A^3, shape (n_replicas, n_samples)."""
        found: Floats = np.abs(np.linalg.det(self.cells))
        return found

    @property
    def moving(self) -> Trajectory:
        """The samples whose velocities are known; all of them but where the velocities were worked out."""
        known = np.isfinite(self.velocities).all(axis=(0, 2, 3))
        return self if known.all() else self.part(np.flatnonzero(known))

    def part(self, rows: slice | NDArray[np.int64]) -> Trajectory:
        """Some of the samples."""
        along = {
            each.name: getattr(self, each.name)[:, rows]
            for each in fields(self)
            if each.name in ("positions", "velocities", "forces", "energies", "cells")
        }
        return replace(self, time_fs=self.time_fs[rows], **along)

    def atoms(self, replica: int, sample: int) -> Atoms:
        """One sample as ASE atoms, velocities included."""
        system = self.system or made(self.numbers, cell=self.cells[replica, sample], pbc=self.pbc, masses=self.masses)
        found = derived(system, positions=self.positions[replica, sample], cell=self.cells[replica, sample])
        found.set_velocities(self.velocities[replica, sample] / units.fs)
        return found


@dataclass(frozen=True)
class ReferenceDynamics:
    """Curves by name (`rdf_Cr_Te`, `vdos_all`), x and y of each, and a trajectory, if they are given.

    `unmapped` says under which other names the trajectory may carry the energies or forces that it lacks.
    """

    curves: Mapping[str, tuple[Floats, Floats]] = field(default_factory=dict)
    trajectory: Trajectory | None = None
    unmapped: str = ""
