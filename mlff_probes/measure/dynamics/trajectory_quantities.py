"""The quantities of molecular dynamics, each with its uncertainty, from a trajectory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from ase import units

from mlff_probes.core.records import Samples, Value
from mlff_probes.measure.dynamics.observables import FS_PER_PS, GPA, Floats, Observables
from mlff_probes.measure.dynamics.protocols import ALL
from mlff_probes.measure.results import missing, not_supplied
from mlff_probes.methods.analysis import distances, statistics, vibrations
from mlff_probes.methods.analysis.diffusion import diffusion
from mlff_probes.methods.analysis.sampling import nyquist
from mlff_probes.methods.analysis.statistics import Estimate, Unresolved

PERCENT = 100.0
EV_TO_MEV = 1000.0

NO_HEAT_FLUX = (
    "no valid heat flux: it needs the energies of atoms, those of a message-passing model in an unfolded cell (Langer "
    "et al., 2023), which no calculator here supplies; nothing is put in its place"
)


SERIES: dict[str, Callable[[Observables], Floats]] = {
    "temperature": lambda o: o.moving.temperatures,
    "temperature_offset": lambda o: PERCENT * (o.moving.temperatures / o.protocol.temperature - 1),
    "potential_energy": lambda o: (o.trajectory.energies - o.sample.start_energy) / o.atoms,
    "volume": lambda o: o.trajectory.volumes / o.atoms,
    "volume_offset": lambda o: PERCENT * (o.trajectory.volumes / o.sample.start_volume - 1),
}
"""Quantities that are means, and the series, shape (n_replicas, n_samples), that they are the means of."""

SLOPES: dict[str, Callable[[Observables], tuple[Floats, Floats]]] = {
    "temperature_drift": lambda o: (o.moving.time_fs / FS_PER_PS, o.moving.temperatures),
    "potential_energy_drift": lambda o: (o.time_ps, SERIES["potential_energy"](o)),
    "volume_drift": lambda o: (o.time_ps, SERIES["volume"](o)),
    "energy_drift": lambda o: (
        o.moving.time_fs / FS_PER_PS,
        (o.moving.energies + o.moving.kinetic_energies) / o.atoms,
    ),
    "rmsd_growth_rate": lambda o: (o.time_ps, o.rmsd),
}
"""Quantities that are slopes, and the times, ps, and the series that they are the slopes of."""


def quantity_value(observables: Observables, quantity: str, unit: str) -> Value:
    """One quantity; an error where it is not resolved, or where the trajectory lacks what it is made of."""
    name = observables.protocol.policy_name(quantity)
    group = quantity.removeprefix(name).removeprefix("_")
    try:
        found = QUANTITIES[name](observables, group)
    except Unresolved as error:
        return missing(unit, f"unresolved: {error}", unresolved=True)
    except ValueError as error:  # no curve to compare with, or one that cannot be compared
        return missing(unit, str(error))
    value = found if isinstance(found, Value) else _value(found)
    return value.model_copy(update={"unit": unit})


def _mean_of(name: str) -> Callable[[Observables, str], Estimate]:
    return lambda o, _: statistics.mean(SERIES[name](o))


def _temperature(o: Observables, _: str) -> Value:
    return _of_velocities(o, ALL, statistics.mean(SERIES["temperature"](o)))


def _temperature_offset(o: Observables, _: str) -> Value:
    found = statistics.mean(SERIES["temperature_offset"](o))
    return _of_velocities(o, ALL, found, scale=PERCENT + found.value)


def _slope_of(name: str) -> Callable[[Observables, str], Estimate]:
    return lambda o, _: statistics.drift(*SLOPES[name](o))


def _slope_of_velocities(name: str) -> Callable[[Observables, str], Value]:
    return lambda o, _: _of_velocities(o, ALL, statistics.drift(*SLOPES[name](o)))


def _of_velocities(
    o: Observables, element: str, found: Estimate, *, scale: float | None = None, spectral: bool = False
) -> Value:
    """An estimate from velocities: its interval, and what it stands on, where these were worked out from positions.

    The interval is widened by the share of the vibrations that positions may not show, of `scale` or of the value, and
    by that of the noise of positions with few digits: of the same, or of the highest frequency of a spectrum.
    """
    whole = abs(found.value if scale is None else scale)
    wider = o.unseen(element) * whole + o.noise(element) * (nyquist(o.moving.interval_fs) if spectral else whole)
    value = _value(replace(found, uncertainty=found.uncertainty + wider))
    t = o.trajectory
    if not t.differentiated:
        return value
    used, of = o.moving.samples * t.replicas, t.samples * t.replicas
    left_out = {"at the ends, where velocities cannot be worked out from positions": of - used}
    return value.model_copy(update={"samples": Samples(used=used, of=of, what="frames", left_out=left_out)})


def _value(found: Estimate) -> Value:
    note = f"{found.samples:.0f} independent samples"
    degrees = found.degrees if np.isfinite(found.degrees) else None
    return Value(value=found.value, unit="-", uncertainty=found.uncertainty, degrees_of_freedom=degrees, note=note)


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


def _net_force(o: Observables, _: str) -> Value:
    """The largest that was seen, not a mean: it is a law."""
    net = EV_TO_MEV * np.linalg.norm(o.trajectory.forces.sum(axis=2), axis=-1) / o.atoms
    replica, sample = np.unravel_index(int(net.argmax()), net.shape)
    seen = f"largest of {net.size} samples, in replica {replica} after {o.time_ps[sample]:.3g} ps"
    return Value(value=float(net.max()), unit="-", note=seen)


def _first_peak(o: Observables, pair: str) -> Estimate:
    return o.first_peak(pair)[0]


def _first_peak_height(o: Observables, pair: str) -> Estimate:
    return o.first_peak(pair)[1]


def _rdf_l1(o: Observables, pair: str) -> Estimate:
    return o.distance(f"rdf_{pair}", *o.pair_distribution(pair), distances.l1_distance)


def _rdf_wasserstein(o: Observables, pair: str) -> Estimate:
    """Wasserstein distance of the pair distances; the number of pairs in a shell goes with r^2 g(r)."""

    def moved(r: Floats, g: Floats, reference: Floats) -> float:
        return distances.wasserstein(r, r**2 * g, r**2 * reference)

    return o.distance(f"rdf_{pair}", *o.pair_distribution(pair), moved)


def _diffusion(o: Observables, element: str) -> Value:
    found = diffusion(o.displacement(element), hop_length=o.protocol.hop_length)
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


def _mean_frequency(o: Observables, element: str) -> Value:
    o.require_spectrum(element, vibrations.PERIODS)
    t = o.moving
    found = vibrations.mean_frequency_estimate(t.velocities, t.masses, o.mask(element), t.interval_fs, window=o.window)
    return _of_velocities(o, element, found, spectral=True)


def _vdos_wasserstein(o: Observables, element: str) -> Value:
    """At the resolution of both, which must be fine enough for the frequencies of the reference."""
    o.require_spectrum(element, vibrations.PERIODS)
    t = o.moving
    known = o.compared_with(f"vdos_{element}")
    vibrations.require_periods(vibrations.mean_frequency(*known), o.window * t.interval_fs, vibrations.PERIODS_OF_SHAPE)
    of = t.velocities, t.masses, o.mask(element), t.interval_fs
    frequency, spectra = vibrations.power_spectra(*of, window=o.window)

    def off(power: Floats) -> float:
        return distances.wasserstein(*distances.common_grid(frequency, power, *known, zero_beyond=True))

    modes = vibrations.mode_scatter(*of, window=o.window)
    found = vibrations.spectral_estimate(off, spectra, t.replicas, *modes)
    return _of_velocities(o, element, found, spectral=True)


OF_BLOCKS: dict[str, Callable[[Observables, str], Estimate]] = {
    "first_peak": _first_peak,
    "first_peak_height": _first_peak_height,
    "rdf_l1": _rdf_l1,
    "rdf_wasserstein": _rdf_wasserstein,
}
"""Quantities of g(r), which are estimated from its blocks, by pair."""

QUANTITIES: dict[str, Callable[[Observables, str], Estimate | Value]] = {
    "temperature": _temperature,
    "temperature_offset": _temperature_offset,
    "temperature_drift": _slope_of_velocities("temperature_drift"),
    "potential_energy": _mean_of("potential_energy"),
    "potential_energy_drift": _slope_of("potential_energy_drift"),
    "pressure": _of_stress(lambda o: statistics.mean(o.pressures)),
    "pressure_drift": _of_stress(_pressure_drift),
    "pressure_offset": _of_stress(_pressure_offset),
    "volume": _mean_of("volume"),
    "volume_drift": _slope_of("volume_drift"),
    "volume_offset": _mean_of("volume_offset"),
    "energy_drift": _slope_of_velocities("energy_drift"),
    "net_force": _net_force,
    "rmsd_growth_rate": _slope_of("rmsd_growth_rate"),
    **OF_BLOCKS,
    "diffusion": _diffusion,
    "mean_frequency": _mean_frequency,
    "vdos_wasserstein": _vdos_wasserstein,
    "thermal_conductivity": lambda o, _: not_supplied("-", NO_HEAT_FLUX, by_nature=True),
}
