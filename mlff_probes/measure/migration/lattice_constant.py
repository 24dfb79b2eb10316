"""The lattice constant of an fcc crystal: the minimum of E(a)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.protocol import LENGTH
from mlff_probes.core.records import Value
from mlff_probes.measure.migration.protocols import FccVacancy
from mlff_probes.measure.results import missing
from mlff_probes.methods.analysis.curves import NotBracketedError, energy_noise, spline_minimum

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


@dataclass(frozen=True)
class Cells:
    """Cubic cells of a crystal that were evaluated together, by their lattice constants in A."""

    a: Floats
    atoms: int
    found: Evaluation

    def energies(self, member: int | None = None) -> Floats:
        """Energies, eV/atom, shape (n_cells,), or those that one member of a committee says."""
        found = self.found if member is None else self.found.members[member]
        return found.energies / self.atoms


@dataclass(frozen=True)
class Crystal:
    """The crystal of a model: lattice constant, A, energy, eV/atom, and E(a) as it was sampled, roughly and finely."""

    lattice_constant: float
    atom_energy: float
    rough: tuple[Cells, ...]
    fine: Cells

    def sampled(self, member: int | None = None) -> tuple[Floats, Floats]:
        """Lattice constants of the rough samples, A, rising, and their energies, eV/atom; or those of one member."""
        a = np.concatenate([cells.a for cells in self.rough])
        energies = np.concatenate([cells.energies(member) for cells in self.rough])
        order = np.argsort(a)
        return a[order], energies[order]


def fcc_crystal(calculator: Calculator, protocol: FccVacancy, calls: Calls) -> Crystal:
    """The minimum of E(a), sampled about the guess, farther out as long as it is not bracketed, then finely.

    Raises
    ------
    NotBracketedError
        If the lowest energy within the widest search stays at its edge, or E(a) is flat on one side.
    NonFiniteError
        If an energy is not finite.
    """
    guess, rough = protocol.guess_lattice_constant, list[Cells]()

    def energies(steps: list[int]) -> dict[int, float]:
        rough.append(_cells(calculator, protocol, guess * (1 + SEARCH_STEP * np.array(steps)), calls))
        return dict(zip(steps, rough[-1].energies(), strict=True))

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
    finely = _cells(calculator, protocol, fine, calls)
    best = _lattice_constant(fine, finely.energies(), noise)
    atom_energy = float(_cells(calculator, protocol, np.array([best]), calls).energies()[0])
    return Crystal(best, atom_energy, tuple(rough), finely)


def _lattice_constant(sampled_a: Floats, energies: Floats, noise: float) -> float:
    try:
        return spline_minimum(sampled_a, energies, noise=noise)[0]
    except NotBracketedError as error:
        raise NotBracketedError(f"of E(a) {error} A") from error


def own_lattice_constant(crystal: Crystal, number: int) -> Value:
    """The lattice constant of one member of a committee, at the minimum of its E(a) in the cells of the mean, A."""
    fine, (rough_a, rough_energies) = crystal.fine, crystal.sampled(number)
    # rough samples where there are no fine ones: two that are close make a spline of the noise of their energies
    away = np.abs(rough_a / fine.a.mean() - 1) > (FINE_SIDE + 1) * FINE_STEP
    a = np.concatenate([fine.a, rough_a[away]])
    energies = np.concatenate([fine.energies(number), rough_energies[away]])
    order = np.argsort(a)
    try:
        found = _lattice_constant(a[order], energies[order], energy_noise(energies))
    except NotBracketedError as error:
        return missing(LENGTH, str(error))
    return Value(value=found, unit=LENGTH)


def _cells(calculator: Calculator, protocol: FccVacancy, lattice_constants: Floats, calls: Calls) -> Cells:
    """The cubic cell at some lattice constants, A, evaluated in one batch."""
    cells = [protocol.crystal(a) for a in lattice_constants]
    name = lambda row: f"the crystal at a = {lattice_constants[row]:.4f} A"  # noqa: E731
    found = calls.add(evaluate(calculator, cells, forces=False, name=name))
    return Cells(lattice_constants, len(cells[0]), found)
