"""What quantities are read off: the samples of a simulation, and the curves and series worked out from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import units
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from mlff_probes.core.trajectory import Trajectory
from mlff_probes.measure.dynamics.protocols import ALL, MolecularDynamics
from mlff_probes.methods.analysis import distances, rdf, statistics, vibrations
from mlff_probes.methods.analysis.displacement import MSD, mean_squared_displacement
from mlff_probes.methods.analysis.rmsd import rmsd
from mlff_probes.methods.analysis.statistics import Estimate, Unresolved

Floats = NDArray[np.float64]
Curves = Mapping[str, tuple[Floats, Floats]]

RDF_LEAST_A, RDF_MOST_A = 5.0, 10.0
"""Distances to which g(r) goes where the case does not say: half the width of the supercell, but at least over the
first shells (then into periodic images, in the model as in the reference) and at most over the order in a liquid."""

RDF_BLOCKS = 48
"""Blocks for g(r), over all replicas together: enough to see whether they are independent."""

WINDOWS = 18
"""Spectra are of so many windows, all replicas together: fewer hardly show whether they are independent, and more are
shorter, which broadens the lines."""

FEWEST_WINDOWS = 2
"""Fewest windows of one replica, however many replicas there are."""

RDF_SAMPLES = 800
"""So many samples of all replicas, evenly spread, give g(r): neighbouring ones say the same."""

MOST_POINTS = 400
"""Most points of a history that are kept for the picture."""

GPA = 1.0 / units.GPa
FS_PER_PS = 1000.0
THERMOSTAT = "; the noise of the thermostat is part of it, so better in NVE"


@dataclass(frozen=True)
class Sample:
    """What observables are read off.

    Attributes
    ----------
    trajectory
        Of the production.
    start, start_energy, start_volume
        Positions before the first step, A, shape (n_atoms, 3), their energy, eV, and the volume of their cell, A^3.
    stress_rows, stresses
        At which samples the stress was computed, shape (n_rows,), and what it is, eV/A^3, in ASE's order and with its
        sign, shape (n_replicas, n_rows, 6); None where the calculator supplies none.
    reference
        Curves to compare with, by name (`rdf_Cr_Te`, `vdos_all`): x and y.
    """

    trajectory: Trajectory
    start: Floats
    start_energy: float
    start_volume: float
    stress_rows: NDArray[np.int64] | None = None
    stresses: Floats | None = None
    reference: Curves | None = None


class Observables:
    """Series and curves of a simulation, worked out as they are asked for.

    Attributes
    ----------
    arrays
        The curves that were worked out on the way, worth plotting.
    """

    def __init__(self, protocol: MolecularDynamics, sample: Sample) -> None:
        self.protocol, self.sample = protocol, sample
        self.trajectory = sample.trajectory
        self.arrays: dict[str, list[Any]] = {}
        self._known: dict[str, tuple[Floats, Floats]] = {}
        self._displacements: dict[str, MSD] = {}

    @property
    def atoms(self) -> int:
        """How many atoms there are."""
        return len(self.trajectory.numbers)

    @property
    def elements(self) -> list[str]:
        """The elements of the atoms, sorted."""
        return sorted({chemical_symbols[z] for z in self.trajectory.numbers})

    @property
    def windows(self) -> int:
        """Into how many windows for spectra: as long ones as a model's simulation has, wherever that can be.

        A spectrum is the broader the shorter its window, and a reference is to be as broad as what is compared with it.
        """
        protocol = self.protocol
        each = max(-(-WINDOWS // len(protocol.seeds)), FEWEST_WINDOWS)
        window = protocol.steps * protocol.timestep_fs / each / self.trajectory.interval_fs
        return max(int(self.trajectory.samples / window), -(-WINDOWS // self.trajectory.replicas))

    @property
    def time_ps(self) -> Floats:
        """Time of the samples, ps."""
        found: Floats = self.trajectory.time_fs / FS_PER_PS
        return found

    def mask(self, element: str) -> NDArray[np.bool_]:
        """Which atoms are of an element, or `ALL`."""
        numbers = self.trajectory.numbers
        found: NDArray[np.bool_] = np.ones(len(numbers), bool) if element == ALL else numbers == atomic_numbers[element]
        return found

    @cached_property
    def pressures(self) -> Floats:
        """Pressure, GPa, at the samples with a stress, shape (n_replicas, n_rows): momentum carried and virial."""
        sample = self.sample
        assert sample.stress_rows is not None
        assert sample.stresses is not None
        at = self.trajectory.part(sample.stress_rows)
        carried = 2 * at.kinetic_energies / (3 * at.volumes)
        found: Floats = (carried - sample.stresses[..., :3].mean(axis=-1)) * GPA
        return found

    @cached_property
    def rmsd(self) -> Floats:
        """Root mean square displacement from the start, A, shape (n_replicas, n_samples)."""
        return rmsd(self.trajectory.positions, self.sample.start, self.trajectory.masses)

    def displacement(self, element: str) -> MSD:
        """Mean squared displacement of an element by lag."""
        if element not in self._displacements:
            t = self.trajectory
            self._displacements[element] = mean_squared_displacement(
                t.positions, t.masses, self.mask(element), t.time_fs
            )
        return self._displacements[element]

    def pair_distribution(self, pair: str) -> tuple[Floats, Floats]:
        """Distances, A, and g(r) of each stretch of trajectory, shape (n_blocks, n_bins), of a pair (`Cr_Te`)."""
        name = f"rdf_{pair}"
        if name in self._known:
            return self._known[name]
        first, second = (ALL, ALL) if pair == ALL else pair.split("_")
        trajectory = self.trajectory.part(thinned(self.trajectory.samples, RDF_SAMPLES // self.trajectory.replicas))
        most = self.protocol.rdf_max
        if most is None:
            most = min(max(rdf.largest_r(trajectory.cells), RDF_LEAST_A), RDF_MOST_A)
        r, blocks = rdf.radial_distribution(
            trajectory.positions, trajectory.cells, self.mask(first), self.mask(second),
            r_max=most, bin_width=self.protocol.rdf_bin,
            blocks=min(-(-RDF_BLOCKS // trajectory.replicas), trajectory.samples),
        )  # fmt: skip
        self.arrays |= {f"{name}_r": r.tolist(), name: blocks.mean(axis=0).tolist()}
        self._known[name] = r, blocks
        return r, blocks

    def spectrum(self, element: str) -> tuple[Floats, Floats]:
        """Frequencies, THz, and vibrational density of states of an element, refused where it is not sampled."""
        name, t, mask = f"vdos_{element}", self.trajectory, self.mask(element)
        if name in self._known:
            return self._known[name]
        reason = vibrations.aliasing(t.velocities, t.forces, t.masses, mask, t.interval_fs)
        if reason:
            raise Unresolved(reason if self.protocol.ensemble == "NVE" else reason + THERMOSTAT)
        window = t.samples // self.windows
        frequency, dos = vibrations.density_of_states(t.velocities, t.masses, mask, t.interval_fs, window=window)
        self.arrays |= {f"{name}_frequency": frequency.tolist(), name: dos.tolist()}
        self._known[name] = frequency, dos
        return frequency, dos

    def distance(self, curve: str, x: Floats, blocks: Floats, between: Callable[..., float]) -> Estimate:
        """How far the mean of `blocks`, shape (n_blocks, n_points), is from the reference's curve of that name."""
        known = (self.sample.reference or {}).get(curve)
        if known is None:
            raise AbsentError(
                f"there is no curve '{curve}' to compare with; the case may give one under [protocol.curves]"
            )

        spectra = curve.startswith("vdos_")
        witnesses: list[Floats] = []
        if not spectra:
            with suppress(Unresolved):  # a g(r) without a shell has no distance of one
                witnesses = [rdf.shell_distance(x, blocks)]

        def off(mean: Floats) -> float:
            return between(*distances.common_grid(x, mean, *known, zero_beyond=spectra))

        return statistics.jackknife(off, blocks, replicas=self.trajectory.replicas, witnesses=witnesses)


def thinned(samples: int, most: int) -> NDArray[np.int64]:
    """At most `most` of some samples, evenly spread, the first and the last among them."""
    rows: NDArray[np.int64] = np.unique(np.linspace(0, samples - 1, min(most, samples)).round().astype(int))
    return rows


class AbsentError(ValueError):
    """What a quantity is made of is not there."""
