"""Batches for a family of the table: had where they give what one structure a call gives, which is tried once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from mlff_probes.calculators.base import BatchFunction, Calculator, batch_atoms
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.errors import EvaluationError

ENERGY_EV = {"float64": 1e-6, "float32": 1e-4}
FORCE_EV_PER_A = {"float64": 1e-5, "float32": 1e-3}
"""By how much a structure may differ in a batch, the energy per atom: what sums in another order make."""

RATTLE_A = 0.1
"""Displacements by which every force of the structures of the trial is another."""


def with_batches(calculator: Calculator, batch: BatchFunction) -> Calculator:
    """`calculator` with a batched pass if that agrees with single calls; else as it is, and its identity says why.

    Whether batches pay is not tried here: it would be another choice in each process of a busy machine. They did on
    the machine of whoever wrote the row of the family.
    """
    identity = calculator.identity
    tried = replace(calculator, batch=batch, batch_atoms=batch_atoms(identity.device))
    if problem := _disagreement(tried):
        return replace(calculator, identity=identity.model_copy(update={"no_batches": problem}))
    return replace(tried, identity=identity.model_copy(update={"batched": True}))


def _disagreement(calculator: Calculator) -> str | None:
    """By how much structures of 1, 2 and 4 atoms differ in a batch and alone; None where that is but rounding."""
    frames = _structures(calculator.identity.elements or ("Cu",))
    try:
        alone = evaluate(replace(calculator, batch=None), frames)
    except EvaluationError:
        return None  # which says nothing of batches: some models know no such structure
    try:
        together = evaluate(calculator, frames)
    except EvaluationError as error:
        return f"the batched pass failed: {error}"
    sizes = np.array([len(frame) for frame in frames])
    energy = float((np.abs(together.energies - alone.energies) / sizes).max())
    pairs = zip(together.forces or (), alone.forces or (), strict=True)
    force = max(float(np.abs(here - there).max()) for here, there in pairs)
    dtype = calculator.identity.dtype
    if energy <= ENERGY_EV.get(dtype, 1e-4) and force <= FORCE_EV_PER_A.get(dtype, 1e-3):
        return None
    return f"a batch differs from single calls by {energy:.2g} eV/atom and {force:.2g} eV/A"


def _structures(elements: tuple[str, ...]) -> list[Atoms]:
    """Cubic crystals of one or two of the elements, of 1, 2 and 4 atoms, with neighbours about as far as bonds are."""
    two = [*elements, *elements][:2]
    radius = max(covalent_radii[atomic_numbers[symbol]] for symbol in two)
    bond, cubic = 2.3 * radius, 4 * radius / np.sqrt(3)
    pair = Atoms(two, scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[cubic] * 3, pbc=True)
    frames = [Atoms(two[:1], cell=[bond] * 3, pbc=True), pair, pair.repeat((2, 1, 1))]
    for seed, frame in enumerate(frames):
        frame.rattle(RATTLE_A, seed=seed)
    return frames
