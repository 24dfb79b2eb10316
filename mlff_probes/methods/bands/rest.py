"""What a structure at rest is: a minimum or a saddle, and why one does not come to rest."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.structures import derived
from mlff_probes.methods.constraints import Freedom

Floats = NDArray[np.float64]

STEP_A = 0.05
"""Displacement over all free components by which a curvature is measured, A: the error of a third derivative cancels
between both sides, and 1 meV/A of noise in the forces makes 0.02 eV/A^2."""

SADDLE_EV_A2 = -0.05
"""A curvature below this, eV/A^2, is that of a saddle: more than noise, and of a hop of 2.5 A over a mere 0.015 eV."""

DIRECTIONS = 2
"""How many directions are tried: the given one, and where the forces turn it. The way an atom goes as it leaves a
saddle differs from the straight line to the next frame by how its neighbours make room, which costs stiff springs."""


def lowest_curvature(calculator: Calculator, atoms: Atoms, direction: Floats, *, calls: Calls) -> float:
    """The lowest curvature of the energy about `direction`, eV/A^2: negative on a saddle that the direction leaves.

    It is the smaller eigenvalue of the Hessian in the plane of `direction` and of the change of the forces along it
    (two steps of the method of Lanczos), by central differences of the forces. Two structures a direction are
    evaluated.

    Parameters
    ----------
    atoms
        At rest; its constraints hold.
    direction
        Shape (n_atoms, 3), any length but zero.
    calls
        Where model calls are counted.

    Raises
    ------
    EvaluationError
        If the calculator fails.
    """
    freedom = Freedom.of(atoms)
    tried: list[Floats] = []
    turned: list[Floats] = []
    rest = freedom.part(direction)
    while len(tried) < DIRECTIONS and np.linalg.norm(rest) > np.finfo(np.float32).eps:
        tried.append(rest / np.linalg.norm(rest))
        turned.append(_hessian_times(calculator, atoms, tried[-1], freedom, calls))
        rest = turned[-1] - sum((turned[-1] * one).sum() * one for one in tried)
    plane = np.array([[(one * image).sum() for image in turned] for one in tried])
    return float(np.linalg.eigvalsh((plane + plane.T) / 2)[0]) if tried else 0.0


def _hessian_times(calculator: Calculator, atoms: Atoms, unit: Floats, freedom: Freedom, calls: Calls) -> Floats:
    sides = [derived(atoms, positions=atoms.positions + side * STEP_A * unit) for side in (1, -1)]
    forces = calls.add(evaluate(calculator, sides, name=lambda _: "a site that was displaced along its path")).forces
    assert forces is not None
    change: Floats = freedom.part(forces[1] - forces[0]) / (2 * STEP_A)
    return change
