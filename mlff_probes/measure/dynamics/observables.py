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
from mlff_probes.methods.analysis.sampling import Sampled, aliasing, impossible, sampled_motion
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
    window_fs
        The longest window that the trajectory to compare with allows for spectra, fs.
    """

    trajectory: Trajectory
    start: Floats
    start_energy: float
    start_volume: float
    stress_rows: NDArray[np.int64] | None = None
    stresses: Floats | None = None
    reference: Curves | None = None
    window_fs: float = np.inf


class Observables:
    """Series and curves of a simulation, worked out as they are asked for.

    Attributes
    ----------
    arrays
        The curves that were worked out on the way, worth plotting.
    fewest
        Fewest independent samples of what is estimated from g(r).
    """

    def __init__(
        self, protocol: MolecularDynamics, sample: Sample, *, fewest: int = statistics.MINIMUM_SAMPLES
    ) -> None:
        self.protocol, self.sample, self.fewest = protocol, sample, fewest
        self.trajectory = sample.trajectory
        self.arrays: dict[str, list[Any]] = {}
        self._known: dict[str, tuple[Floats, Floats]] = {}
        self._displacements: dict[str, MSD] = {}
        self._sampled: dict[str, Sampled | None] = {}

    @property
    def atoms(self) -> int:
        """How many atoms there are."""
        return len(self.trajectory.numbers)

    @property
    def elements(self) -> list[str]:
        """The elements of the atoms, sorted."""
        return sorted({chemical_symbols[z] for z in self.trajectory.numbers})

    @cached_property
    def moving(self) -> Trajectory:
        """The samples whose velocities are known."""
        return self.trajectory.moving

    @property
    def window(self) -> int:
        """Samples in a window for spectra: as long a time in a reference as in what is compared with it.

        A spectrum is the broader the shorter its window, so that the shorter of the windows that a model's simulation
        and its reference allow is taken for both.
        """
        t, protocol = self.moving, self.protocol
        longest = min(
            longest_window_fs(len(protocol.seeds), protocol.steps * protocol.timestep_fs),
            longest_window_fs(t.replicas, (t.samples - 1) * self.trajectory.interval_fs),
            self.sample.window_fs,
        )
        return round(longest / self.trajectory.interval_fs)

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

    def sampled(self, element: str) -> Sampled | None:
        """What samples show of the vibrations of an element, refused where they are too far apart.

        None where no force acts.
        """
        if element not in self._sampled:
            found = sampled_motion(self.trajectory, self.mask(element))
            self._refuse(None if found is None else aliasing(found))
            self._sampled[element] = found
        return self._sampled[element]

    def noise(self, element: str) -> float:
        """Share of the power of vibrations that digits lacking in the positions make; 0 for velocities of a file."""
        return self.moving.noise_of(self.mask(element))

    def unseen(self, element: str) -> float:
        """Share of the power of vibrations that velocities may lack; 0 for those that were not worked out.

        What lies above the Nyquist frequency is missing in velocities that are differences of positions.
        """
        found = self.sampled(element) if self.trajectory.differentiated else None
        return 0.0 if found is None else found.unseen

    def spectrum(self, element: str) -> tuple[Floats, Floats]:
        """Frequencies, THz, and vibrational density of states of an element, refused where it is not sampled."""
        name, t, mask = f"vdos_{element}", self.moving, self.mask(element)
        if name in self._known:
            return self._known[name]
        self.sampled(element)
        frequency, dos = vibrations.density_of_states(t.velocities, t.masses, mask, t.interval_fs, window=self.window)
        self.arrays |= {f"{name}_frequency": frequency.tolist(), name: dos.tolist()}
        self._known[name] = frequency, dos
        return frequency, dos

    def require_spectrum(self, element: str, periods: float) -> None:
        """Work out the spectrum of an element, and refuse it where it is noise or its windows hold fewer periods."""
        found = self.sampled(element)
        if found is not None:
            middle = vibrations.mean_frequency(found.frequency, found.dos)
            middle = middle if found.exact is None else float(np.sqrt(found.exact))
            vibrations.require_periods(middle, self.window * self.moving.interval_fs, periods)
            self._refuse(impossible(found))
        self.spectrum(element)

    def _refuse(self, reason: str | None) -> None:
        if reason:
            damped = self.protocol.ensemble != "NVE" and not self.trajectory.differentiated
            raise Unresolved(reason + THERMOSTAT if damped else reason)

    def compared_with(self, curve: str) -> tuple[Floats, Floats]:
        """The reference's curve of that name, x and y."""
        known = (self.sample.reference or {}).get(curve)
        if known is None:
            raise AbsentError(
                f"there is no curve '{curve}' to compare with; the case may give one under [protocol.curves]"
            )
        return known

    def distance(self, curve: str, x: Floats, blocks: Floats, between: Callable[..., float]) -> Estimate:
        """How far the mean of g(r) in `blocks`, shape (n_blocks, n_points), is from the reference's of that name."""
        known = self.compared_with(curve)
        witnesses: list[Floats] = []
        with suppress(Unresolved):  # a g(r) without a shell has no distance of one
            witnesses = [rdf.shell_distance(x, blocks)]

        def off(mean: Floats) -> float:
            return between(*distances.common_grid(x, mean, *known, zero_beyond=False))

        replicas, fewest = self.trajectory.replicas, self.fewest
        return statistics.jackknife(off, blocks, replicas=replicas, witnesses=witnesses, fewest=fewest)

    def first_peak(self, pair: str) -> tuple[Estimate, Estimate]:
        """Position, A, and height of the first peak of g(r) of a pair."""
        return rdf.first_peak(*self.pair_distribution(pair), replicas=self.trajectory.replicas, fewest=self.fewest)


def longest_window_fs(replicas: int, length_fs: float) -> float:
    """The longest window for spectra, fs, of which so many replicas of such a length have enough."""
    return length_fs / max(-(-WINDOWS // replicas), FEWEST_WINDOWS)


def thinned(samples: int, most: int) -> NDArray[np.int64]:
    """At most `most` of some samples, evenly spread, the first and the last among them."""
    rows: NDArray[np.int64] = np.unique(np.linspace(0, samples - 1, min(most, samples)).round().astype(int))
    return rows


class AbsentError(ValueError):
    """What a quantity is made of is not there."""
