"""A start whose forces are large is relaxed before a thermostat meets it."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.progress import Report
from mlff_probes.core.structures import derived
from mlff_probes.core.trajectory import Floats
from mlff_probes.methods.bands.relax import relax_structure

LARGE_FORCE_EV_A, AT_LEAST_K = 5.0, 300.0
"""Largest force of a start, eV/A, at 300 K and below; it grows with the root of the temperature, as thermal forces do.

An atom of a crystal at 300 K feels 1 eV/A (copper) to 2.5 eV/A (diamond), the unluckiest of a hundred some 2.5 times as
much. What is above that is no motion but a bond that is too short, or a structure of another cell: tenths of an eV, on
some atoms, that become heat within a few vibrations."""

CALM = 0.2
"""A start is relaxed until its largest force is this part of what it may be: then it is not far from rest."""

RELAXATION_STEPS = 100
"""Most steps of the relaxation: what needs more was no start of a simulation."""

MOVED_A = 1e-6
"""An atom of a kept start that is so far from where the case has it was relaxed."""


def largest_start_force(temperature: float) -> float:
    """The force, eV/A, above which no atom of a start for this temperature, K, should feel any."""
    return float(LARGE_FORCE_EV_A * np.sqrt(max(temperature, AT_LEAST_K) / AT_LEAST_K))


def too_large(forces: Floats, temperature: float) -> str:
    """What is wrong with the forces of a start, eV/A, shape (n_atoms, 3), in words; empty where nothing is."""
    sizes = np.linalg.norm(forces, axis=-1)
    limit = largest_start_force(temperature)
    if not sizes.max() > limit:
        return ""
    return f"forces of up to {sizes.max():.3g} eV/A (atom {sizes.argmax()}) where {limit:.3g} eV/A are the most"


def relaxed_start(
    calculator: Calculator, start: Atoms, temperature: float, *, calls: Calls, report: Report
) -> tuple[Atoms, str]:
    """The start, relaxed in its cell until its forces are small, and why it is no start all the same; "" if it is one.

    Raises
    ------
    EvaluationError
        If the calculator fails on the way.
    """
    free = derived(start, constraints=False)
    fmax = CALM * largest_start_force(temperature)
    found, _ = relax_structure(calculator, free, fmax=fmax, max_steps=RELAXATION_STEPS, calls=calls, report=report)
    left = too_large(found.get_forces(), temperature)
    return derived(found), left and f"after {RELAXATION_STEPS} steps of relaxation there are still {left}"


def farthest_moved(start: Atoms, positions: Floats) -> float:
    """How far the atom is, A, that is farthest from where `start` has it, in the nearest image."""
    away = (positions - start.positions) @ np.linalg.inv(start.cell.array)
    return float(np.linalg.norm((away - away.round()) @ start.cell.array, axis=1).max())
