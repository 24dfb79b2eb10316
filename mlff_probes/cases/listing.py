"""The cases as text: what is measured, what it is judged against, how finely, and who says so."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table

from mlff_probes.core.case import BrokenCase, Case
from mlff_probes.core.units import number

WIDTH = 120


def list_cases(cases: Iterable[Case | BrokenCase]) -> str:
    """A heading with title and source for each case, and a row for each quantity."""
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, highlight=False, markup=False, force_jupyter=False)
    for case in cases:
        console.print(f"{case.family} / {case.id}")
        if isinstance(case, BrokenCase):
            console.print(f"  cannot be read: {case.message}\n")
            continue
        formulas = ", ".join(sorted({frame.get_chemical_formula() for frame in case.frames}))
        frames = f"{len(case.frames)} frame{'' if len(case.frames) == 1 else 's'} of {formulas}" if formulas else ""
        frames = " and ".join(filter(None, [frames, case.protocol.other_structures]))
        console.print(f"  {case.title}\n  {case.protocol.kind}, tier {case.tier}, {frames}")
        console.print(f"  {case.level_of_theory}: {case.source}")
        console.print(_quantities(case))
        for quantity, why in case.blind.items():
            console.print(f"  {quantity}: {why}")
        console.print()
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _quantities(case: Case) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column("  quantity", no_wrap=True)
    for name in ("reference", "uncertainty", "tolerance"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("tolerance set by", no_wrap=True)
    units = case.protocol.units(case.frames)
    for quantity in case.quantities:
        expected = case.expectation(quantity)
        if expected is None:
            known = case.reference.values[quantity].value if case.reference and quantity in case.blind else None
            stated = number(known, units[quantity])
            table.add_row(f"  {quantity}", stated, "—", "—", units[quantity], "only reported")
            continue
        tolerance = expected.tolerance
        within = f"{tolerance.value:g}" + (f" (float32: {tolerance.float32:g})" if tolerance.float32 else "")
        numbers = (number(expected.value, expected.unit), f"{expected.uncertainty:g}", within)
        table.add_row(f"  {quantity}", *numbers, expected.unit, tolerance.origin)
    return table
