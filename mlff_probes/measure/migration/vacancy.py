"""A vacancy in an fcc metal: lattice constant, formation energy, and the barrier of a hop into it."""

from __future__ import annotations

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
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.migration.fixed_path import path_fraction
from mlff_probes.measure.migration.protocols import FccVacancy
from mlff_probes.measure.results import Result, relaxation_result
from mlff_probes.methods.analysis.curves import NotBracketedError, energy_noise, has_top, spline_minimum
from mlff_probes.methods.bands.interpolation import interpolate_band
from mlff_probes.methods.bands.outcomes import CONTACT, Outcome
from mlff_probes.methods.bands.relax import BandRun, relax_band, relax_structure
from mlff_probes.methods.bands.rest import force_jump
from mlff_probes.methods.neighbours import closest_pair

Floats = NDArray[np.float64]

SEARCH_STEP = 0.02
"""Spacing of the first samples of E(a), as a fraction of the guess: sound models are within one or two of it."""

SEARCH_SIDE = 3
"""Samples on either side of the guess; the first batch covers 6 % of a, or some 20 % of the volume."""

SEARCH_MOST = 9
"""How many samples the search may go to one side: a minimum 18 % of a away belongs to another crystal."""

FINE_STEP, FINE_SIDE = 0.004, 3
"""Samples about the minimum of the first spline: 0.4 % apart its error is far below the 1e-4 A that
float32 energies allow."""

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


@dataclass(frozen=True)
class Crystal:
    """The crystal of a model: lattice constant in A, energy in eV/atom, and the E(a) that was sampled."""

    lattice_constant: float
    atom_energy: float
    sampled_a: Floats
    sampled_energy: Floats


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
    return _result(protocol, found, calls)


def fcc_crystal(calculator: Calculator, protocol: FccVacancy, calls: Calls) -> Crystal:
    """The minimum of E(a), sampled about the guess, farther out as long as it is not bracketed, then finely.

    Raises
    ------
    NotBracketedError
        If the lowest energy within the widest search stays at its edge, or E(a) is flat on one side.
    NonFiniteError
        If an energy is not finite.
    """
    guess = protocol.guess_lattice_constant

    def energies(steps: list[int]) -> dict[int, float]:
        return dict(zip(steps, _cell_energies(calculator, protocol, guess * (1 + SEARCH_STEP * np.array(steps)), calls),
                        strict=True))  # fmt: skip

    samples = energies(list(range(-SEARCH_SIDE, SEARCH_SIDE + 1)))
    while (lowest := min(samples, key=samples.__getitem__)) in (min(samples), max(samples)):
        if abs(lowest) >= SEARCH_MOST:
            raise NotBracketedError(
                f"E(a) still falls at {guess * (1 + SEARCH_STEP * lowest):.3f} A, {SEARCH_STEP * lowest:+.0%} from the "
                f"{guess:.3f} A where the search began"
            )
        side = int(np.sign(lowest))
        samples |= energies([lowest + side * step for step in (1, 2)])
    steps = sorted(samples)
    sampled_a = guess * (1 + SEARCH_STEP * np.array(steps))
    sampled_energy = np.array([samples[step] for step in steps])
    noise = energy_noise(sampled_energy)
    near = _lattice_constant(sampled_a, sampled_energy, noise)
    fine = np.array([near * (1 + FINE_STEP * step) for step in range(-FINE_SIDE, FINE_SIDE + 1)])
    best = _lattice_constant(fine, _cell_energies(calculator, protocol, fine, calls), noise)
    atom_energy = float(_cell_energies(calculator, protocol, np.array([best]), calls)[0])
    return Crystal(best, atom_energy, sampled_a, sampled_energy)


def _lattice_constant(sampled_a: Floats, energies: Floats, noise: float) -> float:
    try:
        return spline_minimum(sampled_a, energies, noise=noise)[0]
    except NotBracketedError as error:
        raise NotBracketedError(f"of E(a) {error} A") from error


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
    found.formation_energy = float(vacancy.get_potential_energy()) - len(vacancy) * crystal.atom_energy
    hopper = int(np.linalg.norm(start.positions - crystal.lattice_constant * np.array(HOPPER), axis=1).argmin())
    end = other_endpoint(vacancy, start.positions, hopper)
    # the straight line leads between the four atoms of the gate: no IDPP is needed to clear the way
    first = interpolate_band([vacancy, end], protocol.images, idpp=False)
    found.run = run = relax_band(calculator, first, settings=protocol.band_settings, calls=calls, report=report)
    return (_saddle_problem(calculator, run, calls) if run.outcome.converged else None) or run.outcome


def _cell_energies(calculator: Calculator, protocol: FccVacancy, lattice_constants: Floats, calls: Calls) -> Floats:
    """Energies of the cubic cell, eV/atom, in one batch."""
    cells = [protocol.crystal(a) for a in lattice_constants]
    name = lambda row: f"the crystal at a = {lattice_constants[row]:.4f} A"  # noqa: E731
    return calls.add(evaluate(calculator, cells, forces=False, name=name)).energies / len(cells[0])


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
        relative = found.crystal.sampled_energy - found.crystal.atom_energy
        arrays |= as_lists({"lattice_constant": found.crystal.sampled_a, "crystal_energy": relative})
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
