"""Molecular dynamics: one simulation of a case, and what is read off it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.progress import Report
from mlff_probes.core.records import Value
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.measure.dynamics.cost import foreseen_note
from mlff_probes.measure.dynamics.extrapolation import beyond
from mlff_probes.measure.dynamics.observables import FS_PER_PS, MOST_POINTS, Floats, Observables, Sample, thinned
from mlff_probes.measure.dynamics.outlook import about, outlook
from mlff_probes.measure.dynamics.protocols import ALL, MolecularDynamics
from mlff_probes.measure.dynamics.reference_dynamics import reference_curves, reference_window_fs
from mlff_probes.measure.dynamics.trajectory_quantities import quantity_value
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.results import Result, missing
from mlff_probes.methods.analysis import vibrations
from mlff_probes.methods.simulation.engine import Sample as SampleOfAll
from mlff_probes.methods.simulation.simulate import LOOK_AFTER, Simulation, simulate
from mlff_probes.methods.simulation.store import TrajectoryStore

SURVIVED_AT_MOST = 0.99
"""What a simulation that ended early has survived, however late it ended."""


def molecular_dynamics(calculator: Calculator, case: Case[MolecularDynamics], conditions: Conditions = QUIET) -> Result:
    """Simulate a case and work out the quantities that it asks for.

    `survival` is the part of the planned steps that was simulated before anything ended it, 1 for all; where
    something did, all other quantities are errors that say what. For the others see `trajectory_quantities`.

    Raises
    ------
    EvaluationError
        If the calculator raises.
    """
    protocol = case.protocol
    start, wanted = protocol.start(case.frames), case.quantities
    report, store = conditions.report, TrajectoryStore(conditions.store)
    look, dear = _Look(case, report), list[str]()

    def paced(call_s: float) -> None:
        if calculator.batch is None:
            dear.append(foreseen_note(protocol, call_s))
            conditions.paced(call_s)

    run = simulate(calculator, protocol, start, store=store, report=report, paced=paced, hopeless=look, case_id=case.id)
    units, calls = protocol.units(case.frames), run.calls
    values = {"survival": _survival(run)}
    arrays = _history(run, protocol)
    diagnostics: dict[str, Any] = {
        "engine": run.engine,
        "replicas": len(protocol.seeds),
        "n_atoms": len(start),
        "steps": run.done_steps,
        "planned_steps": run.planned_steps,
        "resumed_at_step": run.resumed_at_step,
        "expected_samples": look.samples,
        "notes": [*run.notes, *filter(None, dear), *look.notes],
    }
    outside, over_time = beyond(calculator, case, run.production, calls, report)
    arrays |= over_time  # of what leaves the training frames on its way to an end, too
    if run.given_up:
        why = f"unresolved: {run.given_up}"
        values = {name: missing(units[name], why, unresolved=True) for name in wanted}
        return Result(values, arrays, calls.evaluation(), diagnostics)
    if run.end is not None:
        why = f"{run.end.kind}: {run.end.reason}"
        values |= {name: missing(units[name], why) for name in wanted if name != "survival"}
        diagnostics |= {"end": run.end.kind, "reason": run.end.reason, "end_step": run.end.step}
        return Result(values, arrays, calls.evaluation(), diagnostics)
    rows, stresses = _stresses(calculator, run.production, protocol, wanted, calls=calls, report=report)
    first = run.equilibration if run.equilibration.samples else run.production
    sample = Sample(
        trajectory=run.production,
        start=first.positions[0, 0],
        start_energy=float(first.energies[0, 0]),
        start_volume=float(start.get_volume()),
        stress_rows=rows,
        stresses=stresses,
        reference=reference_curves(case.reference.arrays if case.reference else {}),
        window_fs=reference_window_fs(case),
    )
    observables = Observables(protocol, sample)
    values |= outside
    values |= {name: quantity_value(observables, name, units[name]) for name in wanted if name not in values}
    arrays |= pictured(observables, diagnostics) | observables.arrays
    return Result(values, arrays, calls.evaluation(), diagnostics)


class _Look:
    """Looks at the first part of a production, and says what is expected of all of it.

    Attributes
    ----------
    samples
        Independent samples that are expected of what is judged.
    notes
        What is not expected to be resolved.
    """

    def __init__(self, case: Case[MolecularDynamics], report: Report) -> None:
        self._case, self._report = case, report
        self.samples: dict[str, float] = {}
        self.notes: list[str] = []

    def __call__(self, first: Trajectory, start: SampleOfAll) -> str:
        """Why the rest of a simulation is not worth while; "" where it is."""
        found = outlook(self._case, first, start.positions[0], float(start.energies[0]))
        self.samples = found.samples
        if found.samples:
            expected = ", ".join(f"{name} {about(samples)}" for name, samples in found.samples.items())
            self._report(f"after {LOOK_AFTER:.0%} of the production, expected independent samples: {expected}")
        if not found.unresolved:
            return ""
        why = "; ".join(f"{name}: {reason}" for name, reason in found.unresolved.items())
        said = f"after {LOOK_AFTER:.0%} of the production, not expected to be resolved: {why}"
        self._report(said)
        self.notes.append(said)
        return f"given up {said}" if found.hopeless else ""


def _survival(run: Simulation) -> Value:
    if run.end is None:
        return Value(value=1.0, unit="1")
    survived = min(run.done_steps / run.planned_steps, SURVIVED_AT_MOST)
    where = f"step {run.end.step:,} of {run.planned_steps:,} ({run.end.time_fs / FS_PER_PS:.3g} ps), replica "
    return Value(value=survived, unit="1", note=f"{run.end.kind} at {where}{run.end.replica}: {run.end.reason}")


def _stresses(
    calculator: Calculator,
    trajectory: Trajectory,
    protocol: MolecularDynamics,
    wanted: tuple[str, ...],
    *,
    calls: Calls,
    report: Report,
) -> tuple[NDArray[np.int64] | None, Floats | None]:
    """Stresses at some samples of each replica, computed after the fact: a batched pass supplies none."""
    if not any(name.startswith("pressure") for name in wanted) or not calculator.supplies("stress"):
        return None, None
    rows = thinned(trajectory.samples, -(-protocol.pressure_samples // trajectory.replicas))
    report(f"stress of {len(rows) * trajectory.replicas} samples")
    frames = [trajectory.atoms(replica, row) for replica in range(trajectory.replicas) for row in rows]
    found = calls.add(evaluate(calculator, frames, forces=False, stress=True))
    assert found.stresses is not None
    return rows, found.stresses.reshape(trajectory.replicas, len(rows), 6)


def _history(run: Simulation, protocol: MolecularDynamics) -> dict[str, list[Any]]:
    """Temperature and potential energy over time, mean of the replicas; equilibration at negative times."""
    parts = (run.equilibration, run.production)
    if not any(part.samples for part in parts):
        return {}
    before = run.equilibration.time_fs - protocol.equilibration_steps * protocol.timestep_fs
    time = np.concatenate([before, run.production.time_fs]) / FS_PER_PS
    energies = np.concatenate([part.energies.mean(axis=0) for part in parts]) / len(run.production.numbers)
    rows = thinned(len(time), MOST_POINTS)
    return {
        "time_ps": time[rows].tolist(),
        "temperature": np.concatenate([part.temperatures.mean(axis=0) for part in parts])[rows].tolist(),
        "potential_energy": (energies - energies[0])[rows].tolist(),
    }


def pictured(observables: Observables, diagnostics: dict[str, Any]) -> dict[str, list[Any]]:
    """Curves that no quantity may have asked for: g(r) of all, mean squared displacements, and the VACF."""
    t, arrays = observables.moving, dict[str, list[Any]]()
    with suppress(ValueError):  # too few samples for a picture cost no verdict
        observables.pair_distribution(ALL)
    try:
        observables.spectrum(ALL)
    except ValueError as error:
        diagnostics["spectrum"] = str(error)
    for element in observables.elements if observables.protocol.ensemble != "NPT" else ():
        with suppress(ValueError):
            found = observables.displacement(element)
            arrays[f"msd_{element}_lag_ps"] = (found.lag_fs / FS_PER_PS).tolist()
            arrays |= {f"msd_{element}": found.msd.tolist(), f"msd_{element}_uncertainty": found.uncertainty.tolist()}
    vacf = vibrations.velocity_autocorrelation(t.velocities, t.masses, observables.mask(ALL))
    vacf = vacf[: min(len(vacf) // 2, MOST_POINTS)]
    arrays |= {"vacf": vacf.tolist(), "vacf_lag_ps": (np.arange(len(vacf)) * t.interval_fs / FS_PER_PS).tolist()}
    if observables.sample.stresses is not None and observables.sample.stress_rows is not None:
        arrays["pressure_time_ps"] = observables.time_ps[observables.sample.stress_rows].tolist()
        arrays["pressure"] = observables.pressures.mean(axis=0).tolist()
    return arrays
