"""The samples of a running simulation, in arrays made once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_probes.core.structures import derived
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.methods.simulation.engine import Sample
from mlff_probes.methods.simulation.settings import SimulationSettings
from mlff_probes.methods.simulation.trajectory import unwrap, unwrapped


class Recorder:
    """Samples from the first step of the equilibration to the last of the production.

    Attributes
    ----------
    replicas
        How many there are in each sample.
    samples, most
        How many have been added, and how many there will be.
    """

    def __init__(self, start: Atoms, protocol: SimulationSettings) -> None:
        self._protocol = protocol
        self._start = derived(start, constraints=False)
        self.replicas, self.samples = len(protocol.seeds), 0
        self.most = (protocol.equilibration_steps + protocol.steps) // protocol.sample_every + 1
        of_atoms = (self.replicas, self.most, len(start), 3)
        self._positions, self._momenta, self._forces = np.empty(of_atoms), np.empty(of_atoms), np.empty(of_atoms)
        self._energies, self._cells = np.empty(of_atoms[:2]), np.empty((*of_atoms[:2], 3, 3))

    @property
    def step(self) -> int:
        """The step of the last sample; 0 where there is none."""
        return max(self.samples - 1, 0) * self._protocol.sample_every

    def add(self, sample: Sample) -> None:
        """Keep one sample more."""
        row = self.samples
        self._positions[:, row], self._momenta[:, row] = sample.positions, sample.momenta
        self._forces[:, row], self._energies[:, row], self._cells[:, row] = sample.forces, sample.energies, sample.cells
        self.samples = row + 1

    def last(self) -> Sample:
        """The sample that was added last."""
        return self.at(self.samples - 1)

    def at(self, row: int) -> Sample:
        """The sample of that number, from 0 on."""
        masses = self._start.get_masses()
        arrays = (self._positions, self._momenta, self._forces, self._energies, self._cells)
        positions, momenta, forces, energies, cells = (array[:, row] for array in arrays)
        return Sample(positions, momenta, masses, forces, energies, cells)

    def atoms(self, replica: int, row: int) -> Atoms:
        """One sample of one replica, as ASE's files keep it bit for bit."""
        found = derived(self._start, positions=self._positions[replica, row], cell=self._cells[replica, row])
        found.set_momenta(self._momenta[replica, row])
        energy, forces = float(self._energies[replica, row]), self._forces[replica, row]
        found.calc = SinglePointCalculator(found, energy=energy, forces=forces)
        return found

    def recall(self, replica: int, row: int, atoms: Atoms) -> None:
        """Fill in one sample of one replica from what `atoms` once gave.

        Raises
        ------
        ValueError
            If it is no sample of this system, or if what belongs to one is missing.
        """
        results = getattr(atoms.calc, "results", {})
        if not np.array_equal(atoms.numbers, self._start.numbers) or not {"energy", "forces"} <= set(results):
            raise ValueError(f"frame {row} is no sample of {self._start.get_chemical_formula()}")
        self._positions[replica, row], self._cells[replica, row] = atoms.positions, atoms.cell.array
        self._momenta[replica, row], self._forces[replica, row] = atoms.get_momenta(), results["forces"]
        self._energies[replica, row] = results["energy"]

    def production(self, samples: int, *, wrapped: bool) -> tuple[Trajectory, Sample]:
        """A copy of the first samples of the production, and the first sample of all.

        `wrapped` positions are unwrapped from the first sample of all on.
        """
        first = self._protocol.equilibration_steps // self._protocol.sample_every
        rows = slice(first, first + samples)
        masses, start = self._start.get_masses(), self._start
        positions, cells = self._positions[:, : rows.stop], self._cells[:, : rows.stop]
        if wrapped:
            positions = unwrapped(positions, cells, start.pbc)
        return Trajectory(
            numbers=start.numbers, masses=masses, pbc=start.pbc,
            time_fs=np.arange(samples, dtype=float) * (self._protocol.sample_every * self._protocol.timestep_fs),
            positions=positions[:, rows].copy(), velocities=self._momenta[:, rows] / masses[:, None] * units.fs,
            forces=self._forces[:, rows].copy(), energies=self._energies[:, rows].copy(),
            cells=cells[:, rows].copy(), fixed_momentum=self._protocol.ensemble == "NVE", system=start,
        ), self.at(0)  # fmt: skip

    def trajectories(self, *, wrapped: bool) -> tuple[Trajectory, Trajectory]:
        """Equilibration and production, each with its own beginning of time; the recorder is of no use afterwards.

        The sample between the two is the first of the production. `wrapped` positions are unwrapped across both.
        """
        velocities, masses = self._momenta, self._start.get_masses()
        velocities /= masses[:, None]  # in place: these arrays are large
        velocities *= units.fs
        if wrapped:
            for positions, cells in zip(self._positions, self._cells, strict=True):
                unwrap(positions[: self.samples], cells[: self.samples], self._start.pbc)
        interval = self._protocol.sample_every * self._protocol.timestep_fs
        both = Trajectory(
            numbers=self._start.numbers, masses=masses, pbc=self._start.pbc,
            time_fs=np.arange(self.most, dtype=float) * interval,
            positions=self._positions, velocities=velocities, forces=self._forces,
            energies=self._energies, cells=self._cells, system=self._start,
        )  # fmt: skip
        border = self._protocol.equilibration_steps // self._protocol.sample_every
        first, second = both.part(slice(min(border, self.samples))), both.part(slice(border, self.samples))
        times = np.arange(second.samples, dtype=float) * interval
        return first, replace(second, time_fs=times, fixed_momentum=self._protocol.ensemble == "NVE")
