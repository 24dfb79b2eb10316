"""What a simulation is compared with, worked out as the simulation is: curves and trajectories of other codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.records import Value
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.measure.dynamics.observables import Curves, Floats, Observables, Sample, longest_window_fs
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.measure.dynamics.trajectory_quantities import quantity_value
from mlff_probes.measure.results import Result, missing
from mlff_probes.methods.analysis import distances
from mlff_probes.methods.analysis.vibrations import PERIODS_OF_SHAPE, mode_scatter, power_spectra

NEEDS_FORCES = ("net_force",)
NEEDS_ENERGIES = ("potential_energy", "potential_energy_drift", "energy_drift")
"""What is read off forces or energies, which a trajectory may lack."""


def reference_dynamics(case: Case[MolecularDynamics], wanted: Sequence[str]) -> Result | None:
    """The quantities `wanted` of what a case is compared with, and its curves; None where there is nothing.

    The distance of a curve to itself is 0; everything else is read off the trajectory, as it is for a model.
    """
    protocol, given = case.protocol, case.dynamics
    if given is None:
        return None
    observables = None if given.trajectory is None else Observables(protocol, sample_of(given.trajectory))
    units = protocol.units(case.frames)
    values = {name: _value(case, observables, name, units[name]) for name in wanted}
    arrays: dict[str, list[Any]] = dict(observables.arrays) if observables else {}
    for curve, (x, y) in given.curves.items():
        arrays |= {_axis(curve): x.tolist(), curve: (y / _area(curve, x, y)).tolist()}
    empty = Evaluation(energies=np.empty(0), forces=None)
    return Result(values, arrays, empty) if values or arrays else None


def reference_curves(arrays: Mapping[str, list[Any]]) -> Curves:
    """The curves among the arrays of a reference, by name: x and y."""
    return {
        name: (np.asarray(arrays[_axis(name)]), np.asarray(arrays[name])) for name in arrays if _axis(name) in arrays
    }


def reference_window_fs(case: Case[MolecularDynamics]) -> float:
    """The longest window for spectra, fs, that the trajectory of a case allows; infinite where there is none."""
    if case.dynamics is None or case.dynamics.trajectory is None:
        return np.inf
    given = case.dynamics.trajectory
    return longest_window_fs(given.replicas, (given.moving.samples - 1) * given.interval_fs)


def sample_of(trajectory: Trajectory) -> Sample:
    """What observables are read off a trajectory that is given whole."""
    energy, volume = float(trajectory.energies[0, 0]), float(trajectory.volumes[0, 0])
    return Sample(trajectory, start=trajectory.positions[0, 0], start_energy=energy, start_volume=volume)


def _value(case: Case[MolecularDynamics], observables: Observables | None, name: str, unit: str) -> Value:
    """What is expected of one quantity, or why that cannot be said."""
    assert case.dynamics is not None
    curve = case.protocol.curve(name)
    if curve in case.dynamics.curves:
        return Value(value=0.0, unit=unit)
    problem = _lacking(observables, name, case.dynamics.unmapped)
    if problem or observables is None:
        return missing(unit, problem)
    if curve:
        try:
            return Value(value=0.0, unit=unit, uncertainty=_curve_uncertainty(observables, curve))
        except ValueError as error:
            return missing(unit, f"the trajectory gives no {curve}: {error}")
    found = quantity_value(observables, name, unit)
    if found.upper_bound:
        return missing(unit, "the trajectory gives only an upper bound; a longer one may give a value")
    return found


def _curve_uncertainty(observables: Observables, curve: str) -> float | None:
    """Work out a curve; of a spectrum, how far, THz, that of another trajectory as long as this one may be from it.

    The distance of the spectra of its two halves, whose errors are larger than those of the whole by the root of two
    each, and what the number of modes adds that neither of them shows.
    """
    kind, _, group = curve.partition("_")
    if kind == "rdf":
        observables.pair_distribution(group)
        return None
    observables.require_spectrum(group, PERIODS_OF_SHAPE)
    t, window = observables.moving, observables.window
    of = t.velocities, t.masses, observables.mask(group), t.interval_fs
    frequency, spectra = power_spectra(*of, window=window)
    half = -(-len(spectra) // 2)
    apart = distances.wasserstein(frequency, spectra[:half].mean(axis=0), spectra[-half:].mean(axis=0))
    modes, unseen = mode_scatter(*of, window=window)
    return float(np.hypot(apart, modes.half_width * np.sqrt(unseen)))


def _lacking(observables: Observables | None, name: str, unmapped: str) -> str:
    """What the trajectory lacks for a quantity; "" where it lacks nothing."""
    if observables is None:
        return "give a value, or a curve or trajectory to compare with (in [protocol])"
    trajectory, remedy = observables.trajectory, f" ({unmapped})" if unmapped else ""
    if name in NEEDS_FORCES and not np.isfinite(trajectory.forces).all():
        return f"the trajectory carries no forces, or not in every frame{remedy}"
    if name in NEEDS_ENERGIES and not np.isfinite(trajectory.energies).all():
        return f"the trajectory carries no energies, or not in every frame{remedy}"
    if name.startswith("pressure"):
        return "no pressure is read off a trajectory; give a value"
    return ""


def _axis(curve: str) -> str:
    """The array that holds the x of a curve."""
    return f"{curve}_{'r' if curve.startswith('rdf_') else 'frequency'}"


def _area(curve: str, x: Floats, y: Floats) -> float:
    """What a curve is divided by: a spectrum may come in any unit, and is drawn and compared with area 1."""
    return 1.0 if curve.startswith("rdf_") else float(trapezoid(y, x))
