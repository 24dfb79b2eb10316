"""What is evaluated twice: the same structures on two ways through a model, or in a model loaded once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.errors import EvaluationError, InputError, describe
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.structures import derived, is_lattice
from mlff_probes.measure.laws.examples import (
    MILLI,
    Shown,
    Worst,
    beyond_rounding,
    formula,
    largest,
)

NUDGE_A = 0.01
"""How far the atoms of a structure are moved to have another one: standard deviation of each coordinate, A."""


def loaded_again(calculator: Calculator, **changes: Any) -> Calculator:
    """The calculator loaded once more, with some of what was asked for changed (fields of `CalculatorRequest`).

    Raises
    ------
    InputError
        If it cannot be loaded with these changes. The error holds the problem alone: the report names the calculator
        already, and a remedy would not help a reader who learns that a comparison was left out.
    EvaluationError
        If it fails in another way, out of memory for instance.
    """
    if calculator.fresh is None:
        raise InputError("", "it was handed over ready-made")
    try:
        again = calculator.fresh(**changes)
    except InputError as error:
        where = "" if error.where == f"--calculator={calculator.identity.spec}" else error.where
        raise InputError(where, error.problem) from error
    except Exception as error:  # whatever a foreign loader may raise
        raise EvaluationError(f"the calculator cannot be loaded: {describe(error)}") from error
    if again.ase is calculator.ase:
        raise InputError("", "its factory hands out the same one again")
    return replace(again, guard=calculator.guard)


@contextmanager
def apart(worst: Worst, what: str, *, lacks: str, where: str, by_nature: bool = False) -> Iterator[None]:
    """Around a comparison with another calculator: what the other one lacks, or fails in, costs this comparison alone.

    Of all quantities of `what` it is then said that the calculator `lacks` it (not applicable; `by_nature`: see
    `Problem`), or `where` it failed (an error).
    """
    try:
        yield
    except InputError as error:
        worst.without_any(what, f"the calculator {lacks}: {error}", applicable=False, by_nature=by_nature)
    except EvaluationError as error:
        worst.without_any(what, f"{where}: {error}")


def one_by_one(
    calculator: Calculator,
    structures: Sequence[Atoms],
    *,
    forces: bool,
    calls: Calls,
    stress: bool = False,
    name: Callable[[Atoms], str] = formula,
) -> list[Evaluation]:
    """One evaluation for each structure, through the calculator's own ASE path.

    With `stress`, also the stress of the structures that are periodic in all directions. `name` gives what messages
    call a structure.
    """
    single = replace(calculator, batch=None)
    return [
        calls.add(
            evaluate(
                single, [atoms], forces=forces, stress=stress and is_lattice(atoms), name=partial(_same, name(atoms))
            )
        )
        for atoms in structures
    ]


def _same(name: str, _: int) -> str:
    return name


def split(together: Evaluation) -> list[Evaluation]:
    """One evaluation for each structure of an evaluation of many; energies and forces only."""
    forces = together.forces
    return [
        Evaluation(together.energies[row : row + 1], None if forces is None else forces[row : row + 1])
        for row in range(len(together.energies))
    ]


def nudged(atoms: Atoms) -> Atoms:
    """Almost the same structure: a calculator hands out what it holds if the same one comes twice in a row."""
    off = np.random.default_rng(0).normal(scale=NUDGE_A, size=atoms.positions.shape)
    return derived(atoms, positions=atoms.positions + off)


@dataclass(frozen=True)
class Both:
    """Two evaluations of the same structures, in one order.

    `dtype` is the coarser of their precisions; `changes` is what was changed of the request for a calculator that was
    loaded again, None if none was; `name` is what a structure is called.
    """

    what: str
    says: str
    one: Sequence[Evaluation]
    other: Sequence[Evaluation]
    dtype: str
    changes: dict[str, Any] | None = None
    name: Callable[[Atoms], str] = formula

    def add_to(self, worst: Worst, structures: Sequence[Atoms], frames: Callable[[int], Sequence[Atoms]]) -> None:
        """Record by how much the two evaluations differ.

        What is recorded is the difference of the energy in meV/atom, the longest difference of a force in meV/A and the
        largest difference of a stress component in GPa. `frames` gives what a script needs to show it for a structure.
        """
        for index, (atoms, a, b) in enumerate(zip(structures, self.one, self.other, strict=True)):
            show = partial(self._shown, atoms, frames, index)
            difference = beyond_rounding(a.energies[0] / len(atoms), b.energies[0] / len(atoms), self.dtype)
            worst.add(f"{self.what}_energy", difference * MILLI, show)
            if a.forces is not None and b.forces is not None:
                worst.add(f"{self.what}_force", largest(a.forces[0] - b.forces[0]) * MILLI, show)
            if a.stresses is not None and b.stresses is not None:
                worst.add(f"{self.what}_stress", float(np.abs(a.stresses - b.stresses).max()) / GPa, show)

    def _shown(self, atoms: Atoms, frames: Callable[[int], Sequence[Atoms]], index: int) -> Shown:
        return Shown(tuple(frames(index)), f"{self.name(atoms)}, {self.says}", self.changes)
