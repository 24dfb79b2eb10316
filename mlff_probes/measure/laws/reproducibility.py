"""One structure evaluated again: later, after others, in a batch, in a model loaded again, in another precision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from ase import Atoms

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.laws.examples import Worst, no_structures
from mlff_probes.measure.laws.precision import (
    NO_PRECISION,
    OTHER,
    alike,
    false_precision,
    of_one_precision,
    says_so_falsely,
    seen_dtype,
)
from mlff_probes.measure.laws.protocols import Reproducibility
from mlff_probes.measure.laws.tried import tried_structures, without_refused
from mlff_probes.measure.laws.twins import (
    Both,
    apart,
    loaded_again,
    nudged,
    one_by_one,
    split,
)
from mlff_probes.measure.results import Result

T = TypeVar("T")

ROUNDS = 5
"""Calls of the first structure to a model loaded again: what is compiled on the way is compiled by then."""


def reproducibility(calculator: Calculator, case: Case[Reproducibility], conditions: Conditions = QUIET) -> Result:
    """Evaluate the same structures under other circumstances.

    `…_energy` is the largest difference of the energy of a structure, meV/atom, `…_force` that of the force on an
    atom, meV/A, over all examples, between

    - `repeat`: two passes over them in the same order, so that each comes after the same one;
    - `history`: passes in opposite order, so that each comes after another one;
    - `first_call`: the first call of a model that was loaded again and its last of some;
    - `batch`: one batched pass and one structure a call;
    - `float32`: the model in float32 and in float64.
    """
    worst, calls = Worst(case.protocol.units(case.frames)), Calls()
    tried = tried_structures(calculator, case, worst)
    if tried is None:
        return no_structures(worst, calculator, case)
    every = _distinct(tried.examples(case.protocol.examples, _themselves, _themselves))
    structures = _two_at_least(without_refused(calculator, every, worst, calls, atoms=_themselves))
    forces = calculator.supplies("forces")
    single = partial(one_by_one, calculator, forces=forces, calls=calls)
    conditions.report(f"{len(structures)} structures, three times over")
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
        worst.without_any("batch", "the calculator takes one structure a call", applicable=False, by_nature=True)
    else:
        conditions.report("in one batch")
        together = calls.add(evaluate(calculator, structures, forces=forces))
        Both("batch", "in a batch and alone", again, split(together), dtype).add_to(
            worst, structures, lambda index: [structures[index], *structures]
        )
    conditions.report("loaded again")
    _first_call(calculator, structures, worst, calls, dtype=dtype)
    conditions.report("in the other precision")
    false = false_precision(calculator, structures, first, calls)
    _other_precision(calculator, structures, worst, calls, again, false=false)
    if not forces:
        worst.without_forces()
    found = {"dtype": dtype, "examples": len(structures)} | ({"computed_in": "float32"} if false else {})
    return worst.result(calls, found)


def _first_call(calculator: Calculator, structures: Sequence[Atoms], worst: Worst, calls: Calls, *, dtype: str) -> None:
    with apart(worst, "first_call", lacks="cannot be loaded again", where="in a model loaded again"):
        again = loaded_again(calculator)
        order = [atoms for _ in range(ROUNDS) for atoms in structures[:2]]
        found = one_by_one(again, order, forces=calculator.supplies("forces"), calls=calls)[::2]
        says = "in the first call of a model and in a later one"
        Both("first_call", says, found[:1], found[-1:], dtype).add_to(worst, structures[:1], lambda _: structures[:2])


def _other_precision(
    calculator: Calculator,
    structures: Sequence[Atoms],
    worst: Worst,
    calls: Calls,
    found: list[Evaluation],
    *,
    false: str,
) -> None:
    if says_so_falsely(worst, "float32", false):
        return
    other = OTHER.get(calculator.identity.dtype)
    if other is None:
        worst.without_any("float32", NO_PRECISION, applicable=False, by_nature=True)
        return
    with apart(worst, "float32", lacks=f"cannot be had in {other}", where=f"in {other}", by_nature=True):
        model = loaded_again(calculator, dtype=other)
        theirs = split(calls.add(evaluate(model, structures, forces=found[0].forces is not None)))
        twin = false_precision(model, structures, theirs, calls)
        if of_one_precision(worst, "float32", twin, same=alike(found, theirs)):
            return
        Both("float32", "in float32 and in float64", found, theirs, "float32").add_to(
            worst, structures, lambda index: [structures[index]]
        )


def _distinct(structures: list[Atoms]) -> list[Atoms]:
    """The structures without those that repeat an earlier one, as the same given one that was hardly moved does."""
    found: dict[tuple[bytes, ...], Atoms] = {}
    for atoms in structures:
        numbers = [(array.round(6) + 0.0).tobytes() for array in (atoms.positions, atoms.cell.array)]
        found.setdefault((atoms.numbers.tobytes(), atoms.pbc.tobytes(), *numbers), atoms)
    return list(found.values())


def _themselves(structures: T) -> T:
    """Examples that are structures and nothing else."""
    return structures


def _two_at_least(structures: list[Atoms]) -> list[Atoms]:
    """The structures; a single one with another, since a calculator may hand out again what it still holds."""
    if len(structures) > 1:
        return structures
    (only,) = structures
    return [only, nudged(only)]
