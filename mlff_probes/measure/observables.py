"""All that is read off a trajectory: each quantity with its uncertainty, and the curves behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import units
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from mlff_probes.analysis import diffusion as diffusing
from mlff_probes.analysis import distances, rdf, statistics, vibrations
from mlff_probes.analysis.rmsd import rmsd
from mlff_probes.analysis.statistics import Estimate, Unresolved
from mlff_probes.dynamics.trajectory import Trajectory
from mlff_probes.measure.results import missing, not_supplied
from mlff_probes.protocols import MolecularDynamics
from mlff_probes.protocols.dynamics import ALL
from mlff_probes.records import Value

Floats = NDArray[np.float64]
Curves = Mapping[str, tuple[Floats, Floats]]

RDF_LEAST_A, RDF_MOST_A = 5.0, 10.0
"""Distances to which g(r) goes where the case does not say: half the width of the supercell, but at least over the
first shells (then into periodic images, in the model as in the reference) and at most over the order in a liquid."""

BLOCKS = 12
"""At least so many stretches of trajectory give the uncertainty of a curve, all replicas together."""

RDF_SAMPLES = 800
"""So many samples of all replicas, evenly spread, give g(r): neighbouring ones say the same."""

MOST_POINTS = 400
"""Of a longer history only so many points are kept for the picture."""

PERCENT = 100.0
GPA = 1.0 / units.GPa
FS_PER_PS = 1000.0
EV_TO_MEV = 1000.0

THERMOSTAT = "; the noise of the thermostat is part of it, so better in NVE"

NO_HEAT_FLUX = (
    "no valid heat flux: for a message-passing model it needs the energies of atoms in an unfolded cell (Langer et "
    "al., 2023), which no calculator here supplies; nothing is put in its place"
)


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
    """The quantities of `MolecularDynamics`, worked out as they are asked for.

    Attributes
    ----------
    arrays
        The curves that were worked out on the way, worth plotting.
    """

    def __init__(self, protocol: MolecularDynamics, sample: Sample, units: Mapping[str, str]) -> None:
        self.protocol, self.sample, self.units = protocol, sample, units
        self.trajectory = sample.trajectory
        self.arrays: dict[str, list[Any]] = {}
        self._known: dict[str, tuple[Floats, Floats]] = {}

    def value(self, quantity: str) -> Value:
        """One quantity; an error where it is not resolved, or where the trajectory lacks what it is made of."""
        name = self.protocol.policy_name(quantity)
        group, unit = quantity.removeprefix(name).removeprefix("_"), self.units[quantity]
        try:
            found = _WORKUPS[name](self, group)
        except Unresolved as error:
            return missing(unit, f"unresolved: {error}")
        except AbsentError as error:
            return missing(unit, str(error))
        if isinstance(found, Value):
            return found.model_copy(update={"unit": unit})
        if not np.isfinite(found.value):
            return missing(unit, "the trajectory carries no numbers for it")
        return Value(
            value=found.value, unit=unit, uncertainty=found.uncertainty, note=f"{found.samples:.0f} independent samples"
        )

    @property
    def atoms(self) -> int:
        """How many atoms there are."""
        return len(self.trajectory.numbers)

    @property
    def elements(self) -> list[str]:
        """Their elements, sorted."""
        return sorted({chemical_symbols[z] for z in self.trajectory.numbers})

    @property
    def blocks(self) -> int:
        """Into how many stretches each replica is cut, so that there are enough of them."""
        return -(-BLOCKS // self.trajectory.replicas)

    @property
    def windows(self) -> int:
        """Into how many windows for spectra: as long ones as a model's simulation has, wherever that can be.

        A spectrum is the broader the shorter its window, and a reference is to be as broad as what is compared with it.
        """
        protocol = self.protocol
        each = max(-(-BLOCKS // len(protocol.seeds)), vibrations.STRETCHES)
        window = protocol.steps * protocol.timestep_fs / each / self.trajectory.interval_fs
        return max(int(self.trajectory.samples / window), self.blocks)

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

    def pair_distribution(self, pair: str) -> tuple[Floats, Floats]:
        """Distances, A, and g(r) of each stretch of trajectory, shape (n_blocks, n_bins), of a pair (`Cr_Te`)."""
        name = f"rdf_{pair}"
        if name in self._known:
            return self._known[name]
        first, second = (ALL, ALL) if pair == ALL else pair.split("_")
        require_stretches(self.trajectory.samples, self.blocks)
        trajectory = self.trajectory.part(thinned(self.trajectory.samples, RDF_SAMPLES // self.trajectory.replicas))
        most = self.protocol.rdf_max
        if most is None:
            most = min(max(rdf.largest_r(trajectory.cells), RDF_LEAST_A), RDF_MOST_A)
        r, blocks = rdf.radial_distribution(
            trajectory.positions, trajectory.cells, self.mask(first), self.mask(second),
            r_max=most, bin_width=self.protocol.rdf_bin, blocks=self.blocks,
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

        def off(mean: Floats) -> float:
            return between(*distances.common_grid(x, mean, *known))

        return statistics.jackknife(off, blocks)


def thinned(samples: int, most: int) -> NDArray[np.int64]:
    """At most `most` of some samples, evenly spread, the first and the last among them."""
    rows: NDArray[np.int64] = np.unique(np.linspace(0, samples - 1, min(most, samples)).round().astype(int))
    return rows


def require_stretches(samples: int, blocks: int) -> None:
    """Refuse to cut a replica into more stretches than it has samples."""
    if samples < blocks:
        raise Unresolved(f"{samples} samples of each replica cannot be cut into {blocks} stretches")


class AbsentError(ValueError):
    """What a quantity is made of is not there."""


def _temperature(o: Observables, _: str) -> Estimate:
    return statistics.mean(o.trajectory.temperatures)


def _temperature_offset(o: Observables, _: str) -> Estimate:
    return statistics.mean(PERCENT * (o.trajectory.temperatures / o.protocol.temperature - 1))


def _temperature_drift(o: Observables, _: str) -> Estimate:
    return statistics.drift(o.time_ps, o.trajectory.temperatures)


def _potential_energies(o: Observables) -> Floats:
    found: Floats = (o.trajectory.energies - o.sample.start_energy) / o.atoms
    return found


def _potential_energy(o: Observables, _: str) -> Estimate:
    return statistics.mean(_potential_energies(o))


def _potential_energy_drift(o: Observables, _: str) -> Estimate:
    return statistics.drift(o.time_ps, _potential_energies(o))


def _energy_drift(o: Observables, _: str) -> Estimate:
    total = (o.trajectory.energies + o.trajectory.kinetic_energies) / o.atoms
    return statistics.drift(o.time_ps, total)


def _of_stress(work: Callable[[Observables], Estimate]) -> Callable[[Observables, str], Estimate | Value]:
    """A quantity that needs the stress: not applicable where the calculator supplies none."""

    def found(o: Observables, _: str) -> Estimate | Value:
        if o.sample.stresses is None:
            return not_supplied("GPa", "the calculator supplies no stress")
        return work(o)

    return found


def _pressure_drift(o: Observables) -> Estimate:
    assert o.sample.stress_rows is not None
    return statistics.drift(o.time_ps[o.sample.stress_rows], o.pressures)


def _pressure_offset(o: Observables) -> Estimate:
    return statistics.mean(o.pressures - o.protocol.pressure_bar * units.bar * GPA)


def _volume(o: Observables, _: str) -> Estimate:
    return statistics.mean(o.trajectory.volumes / o.atoms)


def _volume_drift(o: Observables, _: str) -> Estimate:
    return statistics.drift(o.time_ps, o.trajectory.volumes / o.atoms)


def _volume_offset(o: Observables, _: str) -> Estimate:
    return statistics.mean(PERCENT * (o.trajectory.volumes / o.sample.start_volume - 1))


def _net_force(o: Observables, _: str) -> Value:
    """The largest that was seen, not a mean: it is a law."""
    net = EV_TO_MEV * np.linalg.norm(o.trajectory.forces.sum(axis=2), axis=-1) / o.atoms
    replica, sample = np.unravel_index(int(net.argmax()), net.shape)
    seen = f"largest of {net.size} samples, in replica {replica} after {o.time_ps[sample]:.3g} ps"
    return Value(value=float(net.max()), unit="-", note=seen)


def _rmsd_growth_rate(o: Observables, _: str) -> Estimate:
    return statistics.drift(o.time_ps, o.rmsd)


def _first_peak(o: Observables, pair: str) -> Estimate:
    return rdf.first_peak(*o.pair_distribution(pair))[0]


def _first_peak_height(o: Observables, pair: str) -> Estimate:
    return rdf.first_peak(*o.pair_distribution(pair))[1]


def _rdf_l1(o: Observables, pair: str) -> Estimate:
    return o.distance(f"rdf_{pair}", *o.pair_distribution(pair), distances.l1_distance)


def _rdf_wasserstein(o: Observables, pair: str) -> Estimate:
    """Of the pairs themselves, whose number in a shell goes with r^2 g(r)."""

    def moved(r: Floats, g: Floats, reference: Floats) -> float:
        return distances.wasserstein(r, r**2 * g, r**2 * reference)

    return o.distance(f"rdf_{pair}", *o.pair_distribution(pair), moved)


def _diffusion(o: Observables, element: str) -> Value:
    t = o.trajectory
    found = diffusing.diffusion(t.positions, t.masses, o.mask(element), t.time_fs, hop_length=o.protocol.hop_length)
    if found.fit is not None:
        fit = found.fit
        ends = [fit.start_fs / FS_PER_PS, fit.end_fs / FS_PER_PS]
        o.arrays[f"msd_{element}_fit_lag_ps"] = ends
        o.arrays[f"msd_{element}_fit"] = [fit.intercept + fit.slope * t * FS_PER_PS for t in ends]
    return Value(
        value=found.value,
        unit="-",
        uncertainty=None if found.upper_bound else found.uncertainty,
        upper_bound=found.upper_bound,
        note=found.reason,
    )


def _mean_frequency(o: Observables, element: str) -> Estimate:
    o.spectrum(element)
    t = o.trajectory
    return vibrations.mean_frequency_estimate(t.velocities, t.masses, o.mask(element), t.interval_fs, blocks=o.windows)


def _vdos_wasserstein(o: Observables, element: str) -> Estimate:
    o.spectrum(element)
    t = o.trajectory
    spectra = vibrations.power_spectra(t.velocities, t.masses, o.mask(element), t.interval_fs, blocks=o.windows)
    return o.distance(f"vdos_{element}", *spectra, distances.wasserstein)


_WORKUPS: dict[str, Callable[[Observables, str], Estimate | Value]] = {
    "temperature": _temperature,
    "temperature_offset": _temperature_offset,
    "temperature_drift": _temperature_drift,
    "potential_energy": _potential_energy,
    "potential_energy_drift": _potential_energy_drift,
    "pressure": _of_stress(lambda o: statistics.mean(o.pressures)),
    "pressure_drift": _of_stress(_pressure_drift),
    "pressure_offset": _of_stress(_pressure_offset),
    "volume": _volume,
    "volume_drift": _volume_drift,
    "volume_offset": _volume_offset,
    "energy_drift": _energy_drift,
    "net_force": _net_force,
    "rmsd_growth_rate": _rmsd_growth_rate,
    "first_peak": _first_peak,
    "first_peak_height": _first_peak_height,
    "rdf_l1": _rdf_l1,
    "rdf_wasserstein": _rdf_wasserstein,
    "diffusion": _diffusion,
    "mean_frequency": _mean_frequency,
    "vdos_wasserstein": _vdos_wasserstein,
    "thermal_conductivity": lambda o, _: not_supplied("-", NO_HEAT_FLUX, by_nature=True),
}
