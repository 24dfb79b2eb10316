"""A vacancy in an fcc metal: lattice constant, formation energy, and the barrier of a hop into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.errors import NonFiniteError
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.progress import Report
from mlff_probes.core.protocol import ENERGY, LENGTH
from mlff_probes.core.records import Value, as_lists
from mlff_probes.core.structures import derived
from mlff_probes.measure.committee import with_spread
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.migration.fixed_path import path_fraction
from mlff_probes.measure.migration.lattice_constant import Crystal, fcc_crystal, own_lattice_constant
from mlff_probes.measure.migration.protocols import FccVacancy
from mlff_probes.measure.results import Result, relaxation_result
from mlff_probes.methods.analysis.curves import NotBracketedError, energy_noise, has_top
from mlff_probes.methods.bands.interpolation import interpolate_band
from mlff_probes.methods.bands.outcomes import CONTACT, Outcome
from mlff_probes.methods.bands.relax import BandRun, relax_band, relax_structure
from mlff_probes.methods.bands.rest import force_jump
from mlff_probes.methods.neighbours import closest_pair

Floats = NDArray[np.float64]

STRAYED = 0.3
"""An atom that relaxes by more than this fraction of the nearest-neighbour distance has left its site;
around vacancies in metals atoms move by 0.02 of it or less."""

SADDLE_STEP_A = 0.3
"""How far from the saddle, along the path, it is tested for being a maximum there, A: a tenth of a hop, near
enough to stay on the top."""

HUMP_EV = 0.005
"""A rise beside the saddle below this, eV, is a flat top: it is what fmax leaves open in the barrier itself."""

HOPPER = (0.5, 0.5, 0.0)
"""The site, in cubic lattice constants, whose atom hops into the vacancy at the origin."""


def fcc_vacancy(calculator: Calculator, case: Case[FccVacancy], conditions: Conditions = QUIET) -> Result:
    """Lattice constant, vacancy formation energy and migration barrier of an fcc metal, all of the model's own.

    - `lattice_constant` a at the minimum of E(a) of the crystal, A (`fcc_crystal`);
    - `formation_energy` E_vac - (N - 1)/N E_bulk, eV: N sites of crystal at that a with energy E_bulk, and the
      same cell with one atom removed and the others relaxed at fixed cell, E_vac;
    - `barrier` of a nearest neighbour hopping into the vacancy, eV: highest image of a converged climbing-image
      band over the relaxed vacancy;
    - `outcome` 1 where all of this converged; else an error that says what did not, and so are the quantities
      that hang on it (`mlff_probes.methods.bands.outcomes`);
    - `model_calls` structures that went through the model; always given.

    Of a committee, the spread of each is that of `spread_over_members`.

    The quantities of Angsten et al., New J. Phys. 16, 015018 (2014), whose nearest-neighbour hop this is. The second
    endpoint is not relaxed: see `other_endpoint`. The study behind cell, images and fmax is
    `docs/vacancy_cells.md`.

    Raises
    ------
    EvaluationError
        If the calculator raises.
    """
    protocol = case.protocol
    calls, found = Calls(), _Found()
    try:
        found.outcome = _measure(calculator, protocol, calls, found, conditions.report)
    except NonFiniteError as error:
        found.outcome = Outcome("non-finite", str(error), 0)
    except NotBracketedError as error:
        found.outcome = Outcome("not bracketed", str(error), 0)
    result = _result(protocol, found, calls)
    if not calculator.members or found.crystal is None:
        return result
    images = found.run.images if found.run is not None and found.outcome.converged else []
    return spread_over_members(calculator, result, found.crystal, found.vacancy, images, protocol=protocol, calls=calls)


def other_endpoint(vacancy: Atoms, sites: Floats, hopper: int) -> Atoms:
    """The relaxed vacancy after the hop, from the one before it, by symmetry: no model call.

    The inversion through the middle between two lattice sites, r -> r_1 + r_2 - r, maps an fcc crystal and any of
    its supercells on itself and exchanges the two sites. So it maps the relaxed vacancy at one onto the relaxed
    vacancy at the other, with the same energy for every model that does not tell left from right, and relaxing it
    again would give the same numbers. (A mirror in the middle plane does so as well.) For the same reason the
    forward and backward barriers are equal, and the saddle of a symmetric hop is the middle image.

    Parameters
    ----------
    vacancy
        Relaxed, with its energy and forces; the vacancy is at the origin.
    sites
        The lattice sites of its atoms, A, shape (n_atoms, 3).
    hopper
        The atom that hops to the origin.
    """
    moved = vacancy.positions - sites
    wanted = sites[hopper] - sites
    far = np.linalg.norm(find_mic((wanted[:, None] - sites[None]).reshape(-1, 3), vacancy.cell)[0], axis=1)
    partner = far.reshape(len(sites), -1).argmin(axis=1)
    partner[hopper] = hopper
    positions = sites - moved[partner]
    positions[hopper] = -moved[hopper]
    end = derived(vacancy, positions=positions)
    forces = -vacancy.get_forces()[partner]
    end.calc = SinglePointCalculator(end, energy=vacancy.get_potential_energy(), forces=forces)
    return end


@dataclass
class _Found:
    """What was measured before the outcome, whatever that is."""

    outcome: Outcome | None = None
    crystal: Crystal | None = None
    vacancy: Atoms | None = None
    formation_energy: float | None = None
    run: BandRun | None = None


def _measure(calculator: Calculator, protocol: FccVacancy, calls: Calls, found: _Found, report: Report) -> Outcome:
    crystal = found.crystal = fcc_crystal(calculator, protocol, calls)
    start = protocol.vacancy_cell(crystal.lattice_constant)
    vacancy, converged = relax_structure(
        calculator, start, fmax=protocol.vacancy_fmax, max_steps=protocol.vacancy_steps, calls=calls,
        report=lambda text: report(f"vacancy: {text}"),
    )  # fmt: skip
    if problem := _vacancy_problem(start, vacancy, converged, protocol):
        jump = force_jump(calculator, vacancy, fmax=protocol.vacancy_fmax, calls=calls) if not converged else ""
        return replace(problem, reason=problem.reason + (jump if problem.kind == "unconverged" else ""))
    found.vacancy = vacancy
    found.formation_energy = float(vacancy.get_potential_energy()) - len(vacancy) * crystal.atom_energy
    hopper = int(np.linalg.norm(start.positions - crystal.lattice_constant * np.array(HOPPER), axis=1).argmin())
    end = other_endpoint(vacancy, start.positions, hopper)
    # the straight line leads between the four atoms of the gate: no IDPP is needed to clear the way
    first = interpolate_band([vacancy, end], protocol.images, idpp=False)
    found.run = run = relax_band(calculator, first, settings=protocol.band_settings, calls=calls, report=report)
    return (_saddle_problem(calculator, run, calls) if run.outcome.converged else None) or run.outcome


def _vacancy_problem(start: Atoms, vacancy: Atoms, converged: bool, protocol: FccVacancy) -> Outcome | None:
    steps = protocol.vacancy_steps
    ratio, (first, second) = closest_pair(vacancy)
    if ratio < CONTACT:
        reason = f"atoms {first} and {second} beside the vacancy are at {ratio:.2f} of the sum of their covalent radii"
        return Outcome("close contact", reason, steps, 0)
    moved = np.linalg.norm(vacancy.positions - start.positions, axis=1)
    neighbour = start.cell.lengths()[0] / protocol.repeats / np.sqrt(2)
    if moved.max() > STRAYED * neighbour:
        reason = f"atom {moved.argmax()} left its site by {moved.max():.2f} A while the vacancy was relaxed"
        return Outcome("lattice lost", reason, steps, 0)
    if not converged:
        reason = f"the vacancy did not relax to {protocol.vacancy_fmax:g} eV/A in {steps} steps"
        return Outcome("unconverged", reason, steps, 0)
    return None


def _saddle_problem(calculator: Calculator, run: BandRun, calls: Calls) -> Outcome | None:
    """Why a converged band has no saddle, or None.

    By symmetry no force along the path acts on the middle image, be it a maximum or a minimum there, so that a
    band of three images cannot tell: one more structure, a little farther along the path, does.
    """
    top = int(np.argmax(run.energies))
    if not has_top(run.energies, energy_noise(run.energies)):
        return Outcome("no saddle", "no image lies above the relaxed vacancy", run.outcome.step, top)
    along = run.images[top + 1].positions - run.images[top - 1].positions
    step = SADDLE_STEP_A * along / np.linalg.norm(along)
    beside = derived(run.images[top], positions=run.images[top].positions + step)
    name = lambda _: "the image beside the saddle"  # noqa: E731
    energy = float(calls.add(evaluate(calculator, [beside], forces=False, name=name)).energies[0])
    rise = energy - run.energies[top]
    if rise > HUMP_EV:
        reason = f"the path rises by {rise:.3f} eV within {SADDLE_STEP_A} A of image {top}"
        return Outcome("no saddle", f"{reason}: it has two humps", run.outcome.step, top)
    return None


def _result(protocol: FccVacancy, found: _Found, calls: Calls) -> Result:
    outcome = found.outcome
    assert outcome is not None
    values: dict[str, Value] = {}
    arrays: dict[str, list[Any]] = {}
    if found.crystal is not None:
        values["lattice_constant"] = Value(value=found.crystal.lattice_constant, unit=LENGTH)
        sampled_a, energies = found.crystal.sampled()
        relative = energies - found.crystal.atom_energy
        arrays |= as_lists({"lattice_constant": sampled_a, "crystal_energy": relative})
    if found.formation_energy is not None:
        values["formation_energy"] = Value(value=found.formation_energy, unit=ENERGY)
    if found.run is not None:
        arrays["energy_history"] = [row.tolist() for row in found.run.energy_history]
        arrays["fmax_history"] = [row.tolist() for row in found.run.fmax_history]
    if outcome.converged and found.run is not None:
        energies = found.run.energies - found.run.energies[0]
        values["barrier"] = Value(value=float(energies.max()), unit=ENERGY)
        arrays |= as_lists({"path_fraction": path_fraction(tuple(found.run.images)), "energy": energies})
    return relaxation_result(outcome, calls, protocol.quantities, values, arrays)


def spread_over_members(
    calculator: Calculator,
    result: Result,
    crystal: Crystal,
    vacancy: Atoms | None,
    images: Sequence[Atoms],
    *,
    protocol: FccVacancy,
    calls: Calls,
) -> Result:
    """The result of a committee with its spread.

    - `lattice_constant`: each member's own, at the minimum of its E(a) in the cells that were evaluated;
    - `formation_energy` and `barrier`: what each member says of the crystal, the vacancy and the images to which their
      mean relaxed. At a minimum and at a saddle that is its own to second order in how far it would move the atoms.

    The latter structures are evaluated once more for it.
    """
    frames = [protocol.crystal(crystal.lattice_constant), *([vacancy] if vacancy is not None else []), *images]
    found = calls.add(evaluate(calculator, frames, forces=False, name=lambda row: f"relaxed structure {row}"))
    members = []
    for number, each in enumerate(found.members):
        values = {"lattice_constant": own_lattice_constant(crystal, number)}
        if vacancy is not None:
            energy = each.energies[1] - len(vacancy) * each.energies[0] / len(frames[0])
            values["formation_energy"] = Value(value=float(energy), unit=ENERGY)
        if len(images):
            along = each.energies[2:]
            values["barrier"] = Value(value=float(along.max() - along[0]), unit=ENERGY)
        members.append(Result(values, {}, each))
    return with_spread(replace(result, evaluation=calls.evaluation()), members)
