"""What a figure is given to draw: the curves of some calculators, and what is expected of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mlff_probes.core.records import NOT_STATED, Expectation, Measurement


class Curve(NamedTuple):
    """What one calculator gave, and the colour, marker and line it has in all figures."""

    measurement: Measurement
    style: dict[str, Any]


class Row(NamedTuple):
    """One quantity of one calculator, and what is expected of it; None where it is only reported."""

    calculator: str
    quantity: str
    expectation: Expectation | None


@dataclass(frozen=True)
class FigureView:
    """One case as a figure sees it.

    Attributes
    ----------
    protocol
        The `[protocol]` table of the case.
    level_of_theory
        Of its reference.
    reference, reference_diagnostics
        The curves of the reference by name, and what else is known of it; empty where there is none.
    curves
        One entry a calculator, in the order of the run; a calculator without anything to draw has none.
    rows
        The quantities of the case, those of one calculator after those of another.
    """

    protocol: Mapping[str, Any]
    level_of_theory: str
    reference: dict[str, list[Any]]
    reference_diagnostics: Mapping[str, Any]
    curves: tuple[Curve, ...]
    rows: tuple[Row, ...]

    @property
    def reference_name(self) -> str:
        """The reference in a legend."""
        return "reference" if self.level_of_theory == NOT_STATED else self.level_of_theory

    @property
    def quantities(self) -> list[str]:
        """All quantities, each once, in the order of the case."""
        return list(dict.fromkeys(row.quantity for row in self.rows))

    def expected(self, *quantities: str) -> Expectation | None:
        """What is expected of the first of some quantities of which anything is."""
        found = (row.expectation for row in self.rows if row.quantity in quantities and row.expectation)
        return next(found, None)

    def tolerance(self, calculator: str, quantity: str) -> float:
        """The tolerance that binds a calculator; 1 for what is only reported."""
        for row in self.rows:
            if (row.calculator, row.quantity) == (calculator, quantity):
                return row.expectation.tolerance.value if row.expectation else 1.0
        return 1.0
