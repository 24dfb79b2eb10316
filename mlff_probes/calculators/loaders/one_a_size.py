"""A calculator made of others, one for each number of atoms."""

from __future__ import annotations

import copy
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

MOST = 96
"""Sizes that are kept, those that were asked for last: one of NEP89 takes 9 MB, and the laws ask for some dozens."""


class OneASize(Calculator):
    """For a family whose objects take long to change their number of atoms: reading the model file again, for instance.

    Parameters
    ----------
    first
        A calculator that was not asked for anything yet. It will have the first size, and copies of it the others: they
        need not read the model file for what is the same in all.
    most
        Sizes that are kept.
    """

    def __init__(self, first: Any, *, most: int = MOST) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.implemented_properties = list(first.implemented_properties)
        self._spare, self._unasked, self._most = [first], copy.deepcopy(first), most
        self.calculators: dict[int, Any] = {}

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Let the calculator of this size calculate."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        calculator = self.of(len(self.atoms))
        calculator.calculate(self.atoms, list(properties), all_changes)
        self.results = dict(calculator.results)

    def of(self, size: int) -> Any:
        """The calculator of this number of atoms, made where there is none yet."""
        found = self.calculators.pop(size, None)
        if found is None:
            if len(self.calculators) >= self._most:  # the one whose turn is longest ago
                self.calculators.pop(next(iter(self.calculators)))
            found = self._spare.pop() if self._spare else copy.deepcopy(self._unasked)
        self.calculators[size] = found
        return found

    def drop(self, size: int) -> None:
        """Forget the calculator of this number of atoms: the next one is made from the model file."""
        self.calculators.pop(size, None)
