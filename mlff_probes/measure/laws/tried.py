"""The structures that a law is tried on: given ones and random ones, without those that a calculator refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from ase import Atoms
from hypothesis import strategies as st

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.errors import EvaluationError
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.structures import derived, settings
from mlff_probes.measure.laws.examples import Floats, Worst, formula
from mlff_probes.measure.laws.protocols import Law
from mlff_probes.methods.random_structures import directions, oddities, structures, written_otherwise

E = TypeVar("E")

RATTLE_A = 0.3
"""How far the atoms of a given structure are moved at most, together: the square root of the sum of squares, A."""


def tried_elements(calculator: Calculator, case: Case[Law]) -> list[str]:
    """Symbols of which structures are made: those the model knows, else (or if wanted so) those of the case."""
    known = calculator.identity.elements
    if known is None or not case.protocol.random_structures:
        return sorted(case.elements - set(calculator.unknown_elements(case.elements)))
    return sorted(known)


def given_structures(calculator: Calculator, case: Case[Law], worst: Worst) -> list[Atoms]:
    """The structures of the case whose elements the model knows; the others are counted in `worst`."""
    known = [frame for frame in case.frames if not calculator.unknown_elements(frozenset(frame.symbols))]
    worst.leave_out("given structures of unknown elements", len(case.frames) - len(known))
    return [derived(frame, constraints=False) for frame in known]


def tried_structures(calculator: Calculator, case: Case[Law], worst: Worst) -> st.SearchStrategy[Atoms] | None:
    """Given structures, as they are or with their atoms moved a little, and random ones; None where there are none.

    Some of either are written in left-handed or skewed cells, or with atoms outside of them.
    """
    found: list[st.SearchStrategy[Atoms]] = []
    if given := given_structures(calculator, case, worst):
        rattled = st.integers(0, len(given) - 1).flatmap(lambda index: _rattled(given[index]))
        found.append(rattled.flatmap(written_otherwise))
    if case.protocol.random_structures and (elements := tried_elements(calculator, case)):
        found.append(structures(elements, info=settings(case.frames)))
    return st.one_of(found) if found else None


def _rattled(frame: Atoms) -> st.SearchStrategy[Atoms]:
    def moved(step: tuple[float, Floats]) -> Atoms:
        size, direction = step
        return derived(frame, positions=frame.positions + size * direction)

    return st.tuples(st.floats(0.0, RATTLE_A), directions(len(frame))).map(moved)


def without_refused(
    calculator: Calculator,
    examples: Sequence[E],
    worst: Worst,
    calls: Calls,
    *,
    atoms: Callable[[E], Atoms],
    stress: bool = False,
    quantities: Sequence[str] | None = None,
) -> list[E]:
    """The examples without those that the calculator refuses, which are counted in `worst`.

    Not every model knows left-handed cells, or cells that are not periodic in all directions: to raise an error on them
    is honest, a wrong number is not. Only examples in such cells are asked for.

    Parameters
    ----------
    atoms
        The structure of an example.
    stress
        Whether the stress is asked for, instead of energy and forces.
    quantities
        For which the refused examples are counted; None for all.

    Raises
    ------
    EvaluationError
        If it refuses all examples, or answers with what is no number.
    """
    forces = not stress and calculator.supplies("forces")
    kept, refused, last = list[E](), Counter[str](), None
    for row, example in enumerate(examples):
        frame = atoms(example)
        odd = oddities(frame)
        try:
            if odd:
                name = partial(_named, row, frame)
                calls.add(evaluate(calculator, [frame], forces=forces, stress=stress, name=name))
        except EvaluationError as error:
            if error.__cause__ is None or isinstance(error.__cause__, EvaluationError):
                raise  # it has answered
            last = error
            refused[f"refused: {', '.join(odd)}"] += 1
        else:
            kept.append(example)
    if last is not None and not kept:
        raise last
    for reason, number in refused.items():
        worst.leave_out(reason, number, quantities=quantities, by_nature=False)
    return kept


def _named(row: int, frame: Atoms, _: int) -> str:
    return f"example {row}, {formula(frame)}"
