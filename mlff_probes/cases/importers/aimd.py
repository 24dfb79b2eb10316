"""A simulation of another code -> a case of dynamics: its first frame, its trajectory, and what that is good for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from pydantic import ValidationError

from mlff_probes.cases.importers.aimd_quantities import Finding, findings_of, laws
from mlff_probes.cases.importers.labelled_set import level_of
from mlff_probes.cases.importers.simulations.reading import read_simulation
from mlff_probes.cases.importers.simulations.stated import Simulated
from mlff_probes.cases.importers.simulations.timing import interval_fs, refuse_changes_of_pace
from mlff_probes.cases.importers.trajectory import temperature_of, trajectory_of
from mlff_probes.cases.load import CaseFile, ExpectationTable, ReferenceTable
from mlff_probes.core.case import Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.protocol import LabelKeys
from mlff_probes.core.records import Tier
from mlff_probes.core.structures import derived
from mlff_probes.core.trajectory import ReferenceDynamics, Trajectory
from mlff_probes.measure.dynamics.protocols import MolecularDynamics, ReferenceTrajectory
from mlff_probes.methods.simulation.settings import Ensemble

REPLICAS = 4
"""Simulations of the model, each as long as the reference: they are cheap beside it, and halve the scatter."""

EQUILIBRATION_FS = 1000.0
"""Before the production of the model, which starts from the first frame at rest; at most as long as the production."""

ANY_K = 300.0
"""Stands for a temperature that is not known yet."""

RAMP = 0.01
"""Part by which the end of a thermostat's temperature may differ from its beginning."""

HOT = 0.1
"""Part by which the mean temperature of a trajectory may be off from what is stated before that is said."""

WHOLE = 1e-3
"""How far the number of timesteps between two frames may be from a whole one."""

TIERS: tuple[tuple[int, Tier], ...] = ((100_000, "quick"), (10_000_000, "standard"))
"""Up to so many atoms times steps times replicas, at a millisecond an atom."""


@dataclass(frozen=True)
class RunOptions:
    """What the user states of a simulation; None and empty where its files say it.

    Attributes
    ----------
    level
        Level of theory.
    timestep_fs, interval_fs
        Step of the integrator, and time between two frames, fs.
    temperature
        K.
    ensemble
        What was kept.
    skip
        Frames that are left out at the beginning.
    units, types
        Of a dump of LAMMPS: its ``units``, and the element of each type.
    keys
        Names of labels, where these have other names than usual.
    title, material
        For the scorecard.
    """

    level: str = ""
    timestep_fs: float | None = None
    interval_fs: float | None = None
    temperature: float | None = None
    ensemble: Ensemble | None = None
    skip: int = 0
    units: str | None = None
    types: tuple[str, ...] = ()
    keys: LabelKeys = field(default_factory=LabelKeys)
    title: str = ""
    material: str | None = None


@dataclass(frozen=True)
class ImportedRun:
    """A case of dynamics in the making.

    Attributes
    ----------
    table
        The case file; its trajectory is called ``{id}_trajectory.extxyz``.
    start, frames
        The frame that a model starts from, and the trajectory.
    findings
        What the trajectory gives, quantity by quantity, or why it does not.
    summary
        What was read, in one line.
    """

    table: CaseFile
    start: Atoms
    frames: tuple[Atoms, ...]
    findings: tuple[Finding, ...]
    summary: str


def imported_run(source: Path, id: str, options: RunOptions) -> ImportedRun:
    """The case of dynamics of a simulation that lies on a disk.

    Parameters
    ----------
    source
        ``vasprun.xml``, ``OUTCAR``, ``XDATCAR``, ``PROJECT-pos-1.xyz`` of CP2K or its folder, an output of ``pw.x``, a
        dump of LAMMPS, or any trajectory that ASE reads.
    id
        Name of the case.
    options
        What the user states of it.

    Raises
    ------
    InputError
        If it cannot be read, does not say what is needed, or is not one simulation that goes on evenly.
    """
    where = str(source)
    said = read_simulation(source, units=options.units, types=options.types)
    level = level_of(said.settings, options.level, where)
    how = _how(said, options, where)
    if options.skip >= len(said.frames):
        raise InputError(where, f"--skip={options.skip} leaves nothing of {len(said.frames)} frames")
    kept = said.frames[options.skip :]
    stated = ReferenceTrajectory(file=f"{id}_trajectory.extxyz", interval_fs=how.interval_fs)
    in_file = stated.model_copy(update={"skip": options.skip, **dict(options.keys)})
    trajectory, _, unmapped = trajectory_of(kept, in_file, where)  # its notes are those of the loader
    refuse_changes_of_pace(trajectory, where, options.skip)
    kelvin = temperature_of(trajectory)
    protocol = _protocol(kept, how, _temperature(said, options, how, kelvin, where), where)
    settings = f": {said.settings}" if said.settings.compared else ""
    case = Case(
        id=id, family="dynamics", title="-", tier="quick", stored=None, expectations=(), level_of_theory=level,
        protocol=protocol.model_copy(update={"trajectory": stated}),
        frames=(derived(kept[0], constraints=False),),
        source=f"molecular dynamics imported from {source.name}{settings}",
        dynamics=ReferenceDynamics(trajectory=trajectory, unmapped=unmapped),
    )  # fmt: skip
    findings = findings_of(case)
    if not any(row.judged for row in findings):
        raise InputError(
            where, f"says nothing that a model could be judged by: {_reasons(findings)}", "simulate longer"
        )
    table = _table(case, options, findings, _heat_note(case.protocol, kelvin, len(kept[0])))
    return ImportedRun(table, case.frames[0], _written(kept, trajectory), findings, _summary(case, kelvin))


@dataclass(frozen=True)
class _How:
    """How a simulation was made: one step and the time between frames, fs, and what was kept."""

    timestep_fs: float
    interval_fs: float
    ensemble: Ensemble


def _how(said: Simulated, options: RunOptions, where: str) -> _How:
    """How a simulation was made, by its files and the user, with all that is missing in one message."""
    for name, own, given in (
        ("timestep-fs", said.timestep_fs, options.timestep_fs),
        ("ensemble", said.ensemble, options.ensemble),
    ):
        if own is not None and given is not None and own != given:
            raise InputError(where, f"says {own}, but --{name} says {given}", f"leave --{name} out")
    timestep, ensemble = options.timestep_fs or said.timestep_fs, options.ensemble or said.ensemble
    lacking = {"timestep (--timestep-fs=1)": timestep, "ensemble (--ensemble=NVT)": ensemble}
    if said.temperature is None and options.temperature is None and ensemble != "NVE":
        lacking["temperature (--temperature=300)"] = None
    if said.times_fs is None and said.steps is None and options.interval_fs is None and said.timestep_fs is None:
        lacking["time between its frames (--interval-fs=10)"] = None
    missing = [name for name, value in lacking.items() if value is None]
    if timestep is None or ensemble is None or missing:
        raise InputError(where, "does not state the " + ", nor the ".join(missing), "say so")
    return _How(timestep, interval_fs(said, options.interval_fs, timestep, where), ensemble)


def _temperature(said: Simulated, options: RunOptions, how: _How, kelvin: float | None, where: str) -> float:
    """What a model is simulated at: what the thermostat was set to, or the mean where there was none."""
    first, last = said.temperature, said.last_temperature
    if how.ensemble == "NVE":
        given = options.temperature or kelvin or first
        if given is None:
            problem = "does not state the temperature, and its positions are too sparse, or too few, to show it"
            raise InputError(where, problem, "say so: --temperature=300")
        return float(np.round(given, 1))
    if first and last and abs(last - first) > RAMP * first:
        remedy = "a simulation here has one temperature: take a part of it"
        raise InputError(where, f"was taken from {first:g} to {last:g} K", remedy)
    return float(np.round(options.temperature or first or ANY_K, 1))


def _protocol(frames: Sequence[Atoms], how: _How, kelvin: float, where: str) -> MolecularDynamics:
    """Simulations of a model as long as the reference, sampled as often."""
    apart, timestep = how.interval_fs, how.timestep_fs
    every = round(apart / timestep)
    if every < 1 or abs(every - apart / timestep) > WHOLE * max(every, 1):
        raise InputError(where, f"frames {apart:g} fs apart are no whole number of timesteps of {timestep:g} fs")
    steps = (len(frames) - 1) * every
    before = min(steps, -(-round(EQUILIBRATION_FS / timestep) // every) * every)
    try:
        return MolecularDynamics(
            kind="molecular_dynamics", ensemble=how.ensemble, temperature=kelvin, timestep_fs=timestep, steps=steps,
            equilibration_steps=before, sample_every=every, seeds=tuple(range(REPLICAS)),
        )  # fmt: skip
    except ValidationError as error:
        raise InputError(where, str(error.errors()[0]["msg"])) from error


def _summary(case: Case[MolecularDynamics], kelvin: float | None) -> str:
    assert case.dynamics is not None
    assert case.dynamics.trajectory is not None
    t, protocol = case.dynamics.trajectory, case.protocol
    heat = f"{kelvin:.0f} K on average" if kelvin else "positions that show no temperature"
    return (
        f"{t.samples:,} frames of {case.frames[0].get_chemical_formula()}, {t.interval_fs:g} fs apart, "
        f"{t.time_fs[-1] / 1000:.3g} ps; {protocol.ensemble}, {heat}; a model is simulated at "
        f"{protocol.temperature:g} K in steps of {protocol.timestep_fs:g} fs, {len(protocol.seeds)} times as long"
    )


def _reasons(findings: Sequence[Finding]) -> str:
    """Why nothing is judged, each reason once, with what it holds for."""
    by_reason: dict[str, list[str]] = {}
    for row in findings:
        if row.reason:
            by_reason.setdefault(row.reason, []).append(row.quantity)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())


def _heat_note(protocol: MolecularDynamics, kelvin: float | None, atoms: int) -> tuple[str, ...]:
    """What is said of a trajectory that is not as hot as its thermostat, of 3N degrees of freedom or three fewer."""
    if kelvin is None:
        return ()
    off = min(abs(each - protocol.temperature) for each in (kelvin, kelvin * (1 - 1 / atoms)))
    if off <= HOT * protocol.temperature:
        return ()
    return (
        f"The trajectory is at {kelvin:.0f} K on average, and not at the {protocol.temperature:g} K that are stated: "
        "it may not have been in equilibrium from its first frame on (--skip).",
    )


def _table(
    case: Case[MolecularDynamics], options: RunOptions, findings: Sequence[Finding], notes: Sequence[str]
) -> CaseFile:
    protocol = case.protocol
    picoseconds = protocol.steps * protocol.timestep_fs / 1000
    formula = case.frames[0].get_chemical_formula(empirical=True)
    judged = [
        ExpectationTable(quantity=row.quantity, unit=row.unit, uncertainty=row.uncertainty or 0.0)
        for row in findings
        if row.judged
    ]
    exact, reported = laws(protocol, len(case.frames[0]))
    cost = len(case.frames[0]) * (protocol.steps + protocol.equilibration_steps) * len(protocol.seeds)
    return CaseFile(
        schema_version=1,
        title=options.title or f"{formula} at {protocol.temperature:.0f} K, {picoseconds:.3g} ps of reference",
        material=options.material,
        tier=next((tier for most, tier in TIERS if cost <= most), "full"),
        protocol=protocol,
        reference=ReferenceTable(level_of_theory=case.level_of_theory, source=case.source),
        expectation=(*exact, *judged),
        report=(*reported, *(row.quantity for row in findings if row.reported)),
        notes=(*notes, *(f"Not in this case: {row.quantity}: {row.reason}" for row in findings if row.reason)),
    )


def _written(frames: Sequence[Atoms], trajectory: Trajectory) -> tuple[Atoms, ...]:
    """The frames of the trajectory, with energies, forces and velocities under the names that ASE has."""
    found = []
    for row, frame in enumerate(frames):
        written = derived(frame, constraints=False)
        if not trajectory.differentiated:
            written.set_momenta(frame.get_momenta())
        labels = {"energy": trajectory.energies[0, row], "forces": trajectory.forces[0, row]}
        labels = {name: value for name, value in labels.items() if np.isfinite(value).all()}
        written.calc = SinglePointCalculator(written, **labels) if labels else None
        found.append(written)
    return tuple(found)
