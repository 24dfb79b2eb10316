"""A calculator made of others, one for each number of atoms."""

from __future__ import annotations

from collections.abc import Callable
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
        A calculator, which will have the first size.
    another
        Makes another one.
    most
        Sizes that are kept.
    """

    def __init__(self, first: Any, another: Callable[[], Any], *, most: int = MOST) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.implemented_properties = list(first.implemented_properties)
        self._spare, self._another, self._most = [first], another, most
        self.calculators: dict[int, Any] = {}

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Let the calculator of this size calculate."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        calculator = self._of(len(self.atoms))
        calculator.calculate(self.atoms, list(properties), all_changes)
        self.results = dict(calculator.results)

    def _of(self, size: int) -> Any:
        found = self.calculators.pop(size, None)
        if found is None:
            if len(self.calculators) >= self._most:  # the one whose turn is longest ago
                self.calculators.pop(next(iter(self.calculators)))
            found = self._spare.pop() if self._spare else self._another()
        self.calculators[size] = found
        return found
