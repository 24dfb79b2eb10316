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

PER_EV = 1e3
"""eV -> meV."""

STEP_A = 0.05
"""Displacement over all free components by which a curvature is measured, A: the error of a third derivative cancels
between both sides, and 1 meV/A of noise in the forces makes 0.02 eV/A^2."""

SADDLE_EV_A2 = -0.05
"""A curvature below this, eV/A^2, is that of a saddle: more than noise, and of a hop of 2.5 A over a mere 0.015 eV."""

DIRECTIONS = 2
"""How many directions are tried: the given one, and where the forces turn it. The way an atom goes as it leaves a
saddle differs from the straight line to the next frame by how its neighbours make room, which costs stiff springs."""


FIRST_A, FARTHEST_A = 0.01, 0.4
"""An unrelaxed structure is pushed along its force by the first, A, and twice as far as long as the force still pushes,
but no farther than the second: what it falls into then is no jump beside it."""

HALVINGS = 8
"""Of the way on which the force turns: 0.16 A become 0.0006 A, on which a smooth force changes by less than the fmax
asked for, even along a stiff bond (100 eV/A^2 change by 0.06 eV/A, and C-C has 40)."""

JUMP = 3.0
"""A change by this many fmax on that way is a jump."""


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


def force_jump(calculator: Calculator, atoms: Atoms, *, fmax: float, calls: Calls) -> str:
    """Where the forces jump beside a structure that does not come to rest, in words; "" where they are smooth.

    The structure is pushed along its force until the force turns, and the way on which it turns is halved: where the
    force still changes by several `fmax` (eV/A) on what is left of it, there is no place at rest to be found.

    Parameters
    ----------
    atoms
        Carries the forces of `calculator`.
    calls
        Where model calls are counted.

    Raises
    ------
    EvaluationError
        If the calculator fails.
    """
    freedom = Freedom.of(atoms)
    force = freedom.part(atoms.get_forces(apply_constraint=False))
    if not np.linalg.norm(force) > 0:
        return ""
    unit = force / np.linalg.norm(force)

    def along(way: float) -> float:
        pushed = derived(atoms, positions=atoms.positions + way * unit)
        forces = calls.add(
            evaluate(calculator, [pushed], name=lambda _: "a site that was pushed along its force")
        ).forces
        assert forces is not None
        return float((freedom.part(forces[0]) * unit).sum())

    low, high, before, after = 0.0, FIRST_A, float(np.linalg.norm(force)), along(FIRST_A)
    while after > 0:
        if high > FARTHEST_A / 2:
            return ""
        low, high, before, after = high, 2 * high, after, along(2 * high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = along(middle)
        low, before, high, after = (middle, found, high, after) if found > 0 else (low, before, middle, found)
    if before - after < JUMP * fmax:
        return ""
    return (
        f"; beside it the forces jump from {before * PER_EV:+.0f} to {after * PER_EV:+.0f} meV/A within "
        f"{high - low:.1g} A, so that no optimizer comes to rest: look at the smoothness of the model"
    )
