"""Energies and forces of a structure that was moved, mirrored, renumbered, described otherwise or repeated."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import partial

import numpy as np
from ase import Atoms
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.errors import EvaluationError
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.structures import derived
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.laws.examples import (
    MILLI,
    Floats,
    Shown,
    Worst,
    beyond_rounding,
    formula,
    largest,
    no_structures,
)
from mlff_probes.measure.laws.precision import seen_dtype
from mlff_probes.measure.laws.protocols import Symmetry
from mlff_probes.measure.laws.tried import tried_structures, without_refused
from mlff_probes.measure.results import Result
from mlff_probes.methods.random_structures import equivalent_cells, rotations

CHANGES = ("rotation", "reflection", "translation", "permutation", "equivalent_cell", "extensivity")

MIRROR = np.diag([1.0, 1.0, -1.0])
FARTHEST_A = 20.0
"""Translations go this far in each direction: out of the cell and into others."""

FARTHER = 2
"""How much longer a cell vector is made along which nothing repeats, so that its length means nothing."""

REPEATS = ((2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 3), (2, 2, 1), (1, 2, 2))
REPEATED_ATOMS = 100
"""Larger structures are not repeated in more than one direction."""


@dataclass(frozen=True)
class Changed:
    """A structure after a change that leaves the physics alone.

    Attributes
    ----------
    name
        What was done, as in the names of quantities.
    before, atoms
        The structure, and what became of it.
    origin
        Index, in the structure before, of each atom, shape (n_atoms,).
    turned
        Orthogonal matrix that takes a vector before to one after, shape (3, 3).
    says
        What was done, in words.
    """

    name: str
    before: Atoms
    atoms: Atoms
    origin: NDArray[np.int_]
    turned: Floats
    says: str


def symmetry(calculator: Calculator, case: Case[Symmetry], conditions: Conditions = QUIET) -> Result:
    """Try the symmetries of the energy on examples.

    With E the energy and F the forces of a structure of n atoms, E' and F' those of the changed one of n' atoms,
    Q the rotation (or reflection) and o(i) the atom from which atom i came,

    - `…_energy` is ``|E'/n' - E/n|``, less what rounding explains, meV/atom;
    - `…_force` is the largest ``|F'_i - Q F_o(i)|`` of an atom, meV/A,

    each the maximum over all examples. The changes: a `rotation` of atoms and cell; a `reflection` (with a rotation);
    a `translation` of all atoms, folded back into the cell or not; a `permutation` of the atoms; an `equivalent_cell`,
    whose vectors span the same lattice, left-handed or not, and where the structure is not periodic reach farther out;
    and a supercell (`extensivity`) along its periodic directions, which needs one.
    """
    worst, calls = Worst(case.protocol.units(case.frames)), Calls()
    tried = tried_structures(calculator, case, worst)
    if tried is None:
        return no_structures(worst, calculator, case)
    forces = calculator.supplies("forces")
    every = tried.examples(case.protocol.examples, _with_changes, _before)
    examples = without_refused(calculator, every, worst, calls, atoms=_before)
    trial = _Trial(calculator, worst, calls, forces=forces)
    trial.evaluate_unchanged([atoms for atoms, _ in examples])
    for name in CHANGES:
        conditions.report(f"{len(examples)} structures: {name}")
        trial.compare(name, [(n, c) for n, (_, changes) in enumerate(examples) for c in changes if c.name == name])
    if not forces:
        worst.without_forces()
    return worst.result(calls, {"dtype": trial.dtype, "examples": len(examples)})


@dataclass
class _Trial:
    """One kind of change after the other, so that a model that cannot stand one of them is tried on the others."""

    calculator: Calculator
    worst: Worst
    calls: Calls
    _: KW_ONLY
    forces: bool

    def evaluate_unchanged(self, structures: list[Atoms]) -> None:
        names = [f"example {number}, {formula(atoms)}" for number, atoms in enumerate(structures)]
        found = evaluate(self.calculator, structures, forces=self.forces, name=names.__getitem__)
        self.unchanged, self.dtype = self.calls.add(found), seen_dtype(self.calculator, found)

    def compare(self, name: str, changes: list[tuple[int, Changed]]) -> None:
        quantities = [quantity for quantity in self.worst.units if quantity.startswith(f"{name}_")]
        if not changes:
            for quantity in quantities:
                self.worst.without(quantity, "it needs a periodic structure", applicable=False)
            return
        try:
            changes = without_refused(
                self.calculator, changes, self.worst, self.calls, atoms=lambda row: row[1].atoms, quantities=quantities
            )
            names = [f"example {number}, {formula(change.before)}, {change.says}" for number, change in changes]
            frames = [change.atoms for _, change in changes]
            found = evaluate(self.calculator, frames, forces=self.forces, name=names.__getitem__)
        except EvaluationError as error:
            for quantity in quantities:
                self.worst.without(quantity, str(error))
            return
        self.calls.add(found)
        for row, (number, change) in enumerate(changes):
            self._compare_one(change, number, found, row)

    def _compare_one(self, change: Changed, number: int, found: Evaluation, row: int) -> None:
        show = partial(_shown, change)
        per_atom = found.energies[row] / len(change.atoms), self.unchanged.energies[number] / len(change.before)
        self.worst.add(
            f"{change.name}_energy", beyond_rounding(*per_atom, self.dtype) * MILLI, show, structure=change.before
        )
        if found.forces is not None and self.unchanged.forces is not None:
            expected = self.unchanged.forces[number][change.origin] @ change.turned.T
            self.worst.add(
                f"{change.name}_force", largest(found.forces[row] - expected) * MILLI, show, structure=change.before
            )


def _shown(change: Changed) -> Shown:
    frame = derived(change.atoms)
    frame.info["turned"] = change.turned
    frame.set_array("came_from", change.origin)
    return Shown((change.before, frame), f"{formula(change.before)}, {change.says}")


def _with_changes(structures: st.SearchStrategy[Atoms]) -> st.SearchStrategy[tuple[Atoms, list[Changed]]]:
    return structures.flatmap(lambda atoms: st.tuples(st.just(atoms), _changes(atoms)))


def _before(example: tuple[Atoms, list[Changed]]) -> Atoms:
    return example[0]


def _changes(atoms: Atoms) -> st.SearchStrategy[list[Changed]]:
    found = [_turns(atoms), _translations(atoms), _permutations(atoms)]
    if atoms.cell.rank == 3:
        found.append(_equivalent(atoms))
    if atoms.pbc.any():
        found.append(_supercells(atoms))
    return st.tuples(*found).map(lambda lists: [changed for changes in lists for changed in changes])


def _turns(atoms: Atoms) -> st.SearchStrategy[list[Changed]]:
    def turned(name: str, matrix: Floats, says: str) -> Changed:
        # minus the vectors span the same lattice, and keep the cell of a mirror image as right-handed as it was
        cell = atoms.cell.array @ matrix.T * np.linalg.det(matrix).round()
        after = derived(atoms, turned=matrix, cell=cell)
        return Changed(name, atoms, after, np.arange(len(atoms)), matrix, says)

    return rotations().map(
        lambda matrix: [
            turned("rotation", matrix, "rotated"),
            turned("reflection", matrix @ MIRROR, "mirrored and rotated"),
        ]
    )


def _translations(atoms: Atoms) -> st.SearchStrategy[list[Changed]]:
    def translated(choice: tuple[list[float], bool]) -> list[Changed]:
        vector, fold = choice
        after = derived(atoms, positions=atoms.positions + vector)
        if fold:
            after.wrap()
        by = " ".join(f"{x:.2f}" for x in vector)
        says = f"moved by {by} A" + (" and folded back" if fold else "")
        return [_same_axes("translation", atoms, after, says)]

    part = st.floats(-FARTHEST_A, FARTHEST_A)
    return st.tuples(st.lists(part, min_size=3, max_size=3), st.booleans()).map(translated)


def _permutations(atoms: Atoms) -> st.SearchStrategy[list[Changed]]:
    def permuted(order: list[int]) -> list[Changed]:
        after = derived(atoms, order=order)
        return [Changed("permutation", atoms, after, np.array(order), np.eye(3), "with its atoms in another order")]

    return st.permutations(range(len(atoms))).map(permuted)


def _equivalent(atoms: Atoms) -> st.SearchStrategy[list[Changed]]:
    def written(choice: tuple[NDArray[np.int_], bool]) -> list[Changed]:
        matrix, fold = choice
        matrix = np.where(atoms.pbc, 1, FARTHER)[:, None] * matrix
        after = derived(atoms, cell=matrix @ atoms.cell.array)
        if fold:
            after.wrap()
        return [_same_axes("equivalent_cell", atoms, after, f"cell vectors combined by {matrix.tolist()}")]

    return st.tuples(equivalent_cells(tuple(atoms.pbc)), st.booleans()).map(written)


def _supercells(atoms: Atoms) -> st.SearchStrategy[list[Changed]]:
    along = [r for r in REPEATS if all(times == 1 or p for times, p in zip(r, atoms.pbc, strict=True))]
    fitting = [r for r in along if np.prod(r) * len(atoms) <= REPEATED_ATOMS or np.prod(r) == 2]

    def repeated(times: tuple[int, int, int]) -> list[Changed]:
        after = derived(atoms, repeat=times)
        origin = np.arange(len(after)) % len(atoms)
        return [Changed("extensivity", atoms, after, origin, np.eye(3), "repeated {} x {} x {}".format(*times))]

    return st.sampled_from(fitting).map(repeated)


def _same_axes(name: str, before: Atoms, after: Atoms, says: str) -> Changed:
    return Changed(name, before, after, np.arange(len(after)), np.eye(3), says)
