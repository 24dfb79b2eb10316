"""The same structure again: later, after others, in a batch, in a model loaded anew, in the other precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from ase import Atoms

from mlff_probes.bands.relax import Calls, Report
from mlff_probes.calculators.base import Calculator
from mlff_probes.errors import InputError
from mlff_probes.evaluation import Evaluation, evaluate
from mlff_probes.measure.examples import (
    MILLI,
    Shown,
    Worst,
    beyond_rounding,
    displaced,
    formula,
    largest,
    no_structures,
    seen_dtype,
    tried_structures,
)
from mlff_probes.measure.results import Result
from mlff_probes.protocols import Reproducibility
from mlff_probes.records import Case
from mlff_probes.strategies import drawn

OTHER = {"float32": "float64", "float64": "float32"}
ROUNDS = 5
"""Calls of the first structure to a model loaded anew: what is compiled on the way is compiled by then."""


def reproducibility(calculator: Calculator, case: Case, *, report: Report) -> Result:
    """Evaluate the same structures under other circumstances.

    `…_energy` is the largest difference of the energy of a structure, meV/atom, `…_force` that of the force on an
    atom, meV/A, over all examples, between

    - `repeat`: two passes over them in the same order, so that each comes after the same one;
    - `history`: passes in opposite order, so that each comes after another one;
    - `first_call`: the first call of a model that was loaded anew and its last of some;
    - `batch`: one batched pass and one structure a call;
    - `float32`: the model in float32 and in float64.
    """
    assert isinstance(case.protocol, Reproducibility)
    worst, calls = Worst(case.protocol.units(case.frames)), Calls()
    strategy = tried_structures(calculator, case)
    if strategy is None:
        return no_structures(worst, calculator, case)
    structures = _two_at_least(_distinct(drawn(strategy, case.protocol.examples)))
    forces = calculator.supplies("forces")
    single = partial(_one_by_one, replace(calculator, batch=None), forces=forces, calls=calls)
    report(f"{len(structures)} structures, three times over")
    # a calculator returns what it still holds if the same structure comes twice in a row: the last goes first
    first = single([structures[-1], *structures])[1:]
    again = single(structures)
    backwards = single([structures[0], *reversed(structures)])[:0:-1]
    dtype = seen_dtype(calculator, first[0])

    def around(index: int) -> list[Atoms]:
        return [structures[index - 1], structures[index], structures[(index + 1) % len(structures)]]

    Both("repeat", "evaluated twice", first, again, dtype).add_to(worst, structures, around)
    Both("history", "evaluated after another structure", again, backwards, dtype).add_to(worst, structures, around)
    if calculator.batch is None:
        for what in ("batch_energy", "batch_force"):
            worst.without(what, "the calculator takes one structure a call", applicable=False, by_nature=True)
    else:
        report("in one batch")
        together = calls.add(evaluate(calculator, structures, forces=forces))
        Both("batch", "in a batch and alone", again, _split(together), dtype).add_to(
            worst, structures, lambda index: [structures[index], *structures]
        )
    report("loaded anew")
    _first_call(calculator, structures, worst, calls, dtype=dtype)
    report("in the other precision")
    _other_precision(calculator, structures, worst, calls, again)
    if not forces:
        worst.without_forces()
    return worst.result(calls, {"dtype": dtype, "examples": len(structures)})


def _one_by_one(calculator: Calculator, structures: Sequence[Atoms], *, forces: bool, calls: Calls) -> list[Evaluation]:
    return [
        calls.add(evaluate(calculator, [atoms], forces=forces, name=lambda _, atoms=atoms: formula(atoms)))  # type: ignore[misc]
        for atoms in structures
    ]


def _split(together: Evaluation) -> list[Evaluation]:
    """One evaluation of many structures as many of one."""
    forces = together.forces
    return [
        Evaluation(together.energies[row : row + 1], None if forces is None else forces[row : row + 1])
        for row in range(len(together.energies))
    ]


@dataclass(frozen=True)
class Both:
    """Two evaluations of the same structures, in one order."""

    what: str
    says: str
    one: Sequence[Evaluation]
    other: Sequence[Evaluation]
    dtype: str

    def add_to(self, worst: Worst, structures: Sequence[Atoms], frames: Callable[[int], Sequence[Atoms]]) -> None:
        """Record by how much they differ; `frames` are what a script needs to show it for one of the structures."""
        for index, (atoms, a, b) in enumerate(zip(structures, self.one, self.other, strict=True)):
            show = partial(self._shown, atoms, frames, index)
            difference = beyond_rounding(a.energies[0] / len(atoms), b.energies[0] / len(atoms), self.dtype)
            worst.add(f"{self.what}_energy", difference * MILLI, show)
            if a.forces is not None and b.forces is not None:
                worst.add(f"{self.what}_force", largest(a.forces[0] - b.forces[0]) * MILLI, show)

    def _shown(self, atoms: Atoms, frames: Callable[[int], Sequence[Atoms]], index: int) -> Shown:
        return Shown(tuple(frames(index)), f"{formula(atoms)}, {self.says}")


def _first_call(calculator: Calculator, structures: Sequence[Atoms], worst: Worst, calls: Calls, *, dtype: str) -> None:
    anew = _loaded(calculator, worst, "first_call", lambda fresh: fresh(), "cannot be loaded anew")
    if anew is None:
        return
    order = [atoms for _ in range(ROUNDS) for atoms in structures[:2]]
    found = _one_by_one(replace(anew, batch=None), order, forces=calculator.supplies("forces"), calls=calls)[::2]
    says = "in the first call of a model and in a later one"
    Both("first_call", says, found[:1], found[-1:], dtype).add_to(worst, structures[:1], lambda _: structures[:2])


def _other_precision(
    calculator: Calculator, structures: Sequence[Atoms], worst: Worst, calls: Calls, found: list[Evaluation]
) -> None:
    other = OTHER.get(calculator.identity.dtype)
    if other is None:
        for what in ("float32_energy", "float32_force"):
            worst.without(
                what, "the calculator does not say in which precision it computes", applicable=False, by_nature=True
            )
        return
    model = _loaded(calculator, worst, "float32", lambda fresh: fresh(dtype=other), "cannot be had in " + other)
    if model is None:
        return
    theirs = calls.add(evaluate(model, structures, forces=found[0].forces is not None))
    Both("float32", "in float32 and in float64", found, _split(theirs), "float32").add_to(
        worst, structures, lambda index: [structures[index]]
    )


def _loaded(
    calculator: Calculator, worst: Worst, what: str, load: Callable[[Callable[..., Calculator]], Calculator], lacks: str
) -> Calculator | None:
    """The calculator loaded once more; None, with the reason noted, where that cannot be had."""
    try:
        if calculator.fresh is None:
            raise InputError("it was handed over ready-made")
        anew = load(calculator.fresh)
        if anew.ase is calculator.ase:
            raise InputError("its factory hands out the same one again")
        return replace(anew, guard=calculator.guard)
    except InputError as error:
        by_nature = what == "float32"
        why = str(error).removeprefix(f"--calculator={calculator.identity.spec}: ").partition(";")[0]
        for name in (f"{what}_energy", f"{what}_force"):
            worst.without(name, f"the calculator {lacks}: {why}", applicable=False, by_nature=by_nature)
        return None


def _distinct(structures: list[Atoms]) -> list[Atoms]:
    """The structures without those that repeat an earlier one, as the same given one that was hardly moved does."""
    found: dict[tuple[bytes, ...], Atoms] = {}
    for atoms in structures:
        numbers = [(array.round(6) + 0.0).tobytes() for array in (atoms.positions, atoms.cell.array)]
        found.setdefault((atoms.numbers.tobytes(), atoms.pbc.tobytes(), *numbers), atoms)
    return list(found.values())


def _two_at_least(structures: list[Atoms]) -> list[Atoms]:
    """The structures; a single one with another, since a calculator may hand out again what it still holds."""
    if len(structures) > 1:
        return structures
    (only,) = structures
    return [only, displaced(only, np.random.default_rng(0).normal(scale=0.01, size=only.positions.shape))]
