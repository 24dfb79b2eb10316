"""The structures that a law is tried on: given ones and random ones, without those that a calculator refuses."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

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
from mlff_probes.methods.random_structures import (
    LEFT,
    OUTSIDE,
    SKEWED,
    UNUSUAL,
    directions,
    drawn,
    oddities,
    structures,
    unusual,
    written_otherwise,
)

E = TypeVar("E")

RATTLE_A = 0.3
"""How far the atoms of a given structure are moved at most, together: the square root of the sum of squares, A."""

WAYS_OF_WRITING = (SKEWED, LEFT, OUTSIDE)
"""In which ways any periodic structure can be written."""

NOT_THE_SIMPLEST = 4
"""So many examples of a kind are drawn for the last of them: the first is the simplest that there is."""

MOST_DRAWN = 16
"""For so many laws and sets of elements examples are kept: hypothesis takes half a second to draw them."""


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


@dataclass(frozen=True)
class Tried:
    """What examples are drawn of: given structures and random ones of some elements, which carry what `info` says.

    Given ones are tried as they are or with their atoms moved a little. Some of either are written in left-handed or
    skewed cells, or with atoms outside of them.
    """

    given: Sequence[Atoms]
    elements: Sequence[str]
    info: Mapping[str, Any]

    def strategy(self, kind: str | None = None) -> st.SearchStrategy[Atoms] | None:
        """The structures, or those that are unusual in one way; None where there can be none."""
        found = [structures(self.elements, self.info, kind)] if self.elements else []
        if kind is None and self.given:
            return st.one_of(_moved(self.given), *found)
        if kind is None or found:
            return st.one_of(found) if found else None
        written = [atoms for atoms in self.given if atoms.cell.rank == 3 and atoms.pbc.sum() > 1]
        if kind not in WAYS_OF_WRITING or not written:
            return None
        return _moved(written, kind).filter(lambda atoms: kind in unusual(atoms))

    def examples(
        self, number: int, make: Callable[[st.SearchStrategy[Atoms]], st.SearchStrategy[E]], atoms: Callable[[E], Atoms]
    ) -> list[E]:
        """So many examples, which `make` makes of structures and of which `atoms` gives the structure.

        Structures of all kinds that there can be are among them, if need be in the place of the last ones. Where there
        are fewer examples than kinds, the rarest kinds are, and the first example stays. They are drawn once for all
        calculators that are tried on the same; each gets its own copies.
        """
        found: list[E] = pickle.loads(_drawn_once(pickle.dumps((self, number)), make, atoms))
        return found

    def draw(
        self, number: int, make: Callable[[st.SearchStrategy[Atoms]], st.SearchStrategy[E]], atoms: Callable[[E], Atoms]
    ) -> list[E]:
        """What `examples` hands out."""
        strategy = self.strategy()
        found = [] if strategy is None else drawn(make(strategy), number)
        kinds = [unusual(atoms(example)) for example in found]
        for kind in UNUSUAL:
            of_kind = None if any(kind in its for its in kinds) else self.strategy(kind)
            place = _place(kinds, kind)
            if of_kind is None or place is None:
                continue
            found[place] = drawn(make(of_kind), NOT_THE_SIMPLEST)[-1]
            kinds[place] = unusual(atoms(found[place]))
        return found


@lru_cache(maxsize=MOST_DRAWN)
def _drawn_once(of: bytes, make: Callable[[Any], Any], atoms: Callable[[Any], Atoms]) -> bytes:
    """The examples, pickled, of a pickled `Tried` and their number."""
    tried, number = pickle.loads(of)
    return pickle.dumps(tried.draw(number, make, atoms))


def _place(kinds: Sequence[set[str]], kind: str) -> int | None:
    """The last of some examples, given by their kinds, in whose place one of `kind` may come; None for none.

    One without which no kind is lost, or else no kind that is as rare.
    """
    counted = Counter(each for its in kinds for each in its)
    lost = [{each for each in its if counted[each] == 1} for its in kinds]
    first = 0 if len(kinds) >= len(UNUSUAL) else 1
    for no_loss in (set[str](), set(UNUSUAL[UNUSUAL.index(kind) :])):
        for place in reversed(range(first, len(kinds))):
            if lost[place] <= no_loss:
                return place
    return None


def tried_structures(calculator: Calculator, case: Case[Law], worst: Worst) -> Tried | None:
    """What a law is tried on; None where there is nothing."""
    given = given_structures(calculator, case, worst)
    elements = tried_elements(calculator, case) if case.protocol.random_structures else []
    return Tried(given, elements, settings(case.frames)) if given or elements else None


def _moved(given: Sequence[Atoms], kind: str | None = None) -> st.SearchStrategy[Atoms]:
    rattled = st.integers(0, len(given) - 1).flatmap(lambda index: _rattled(given[index]))
    return rattled.flatmap(partial(written_otherwise, kind=kind))


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
