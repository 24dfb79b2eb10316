"""A case by itself, without any model: its curve in the terminal, and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from mlff_probes.cases.listing import WIDTH
from mlff_probes.core.case import Case
from mlff_probes.core.errors import InputError
from mlff_probes.scorecard.files import check_path
from mlff_probes.scorecard.reports.figures import DPI, PICTURES, draw_reference

BAR = 40
"""Width of the bars, letters."""


def path_table(case: Case, names: Sequence[str] = ()) -> str:
    """Energy along a path, one line an image with a bar; empty for a case whose reference is no path."""
    arrays = case.reference.arrays if case.reference else {}
    if "path_fraction" not in arrays or "energy" not in arrays:
        return ""
    energies = np.array(arrays["energy"], dtype=float)
    across = case.reference.diagnostics.get("perpendicular_force_ev_per_a") if case.reference else None
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("image", justify="right")
    if names:
        table.add_column("from")
    for heading in ("path", "energy (eV)", *(["force across the path (eV/A)"] if across else [])):
        table.add_column(heading, justify="right")
    table.add_column("", width=BAR)
    low, span = energies.min(), max(float(np.ptp(energies)), np.finfo(float).tiny)
    for index, (place, energy) in enumerate(zip(arrays["path_fraction"], energies, strict=True)):
        inner = across and 0 < index < len(energies) - 1
        force = [f"{across[index - 1]:.3f}" if inner else "—"] if across else []
        bar = Bar(size=span, begin=0.0, end=float(energy - low), width=BAR)
        table.add_row(str(index), *([names[index]] if names else []), f"{place:.3f}", f"{energy:.4f}", *force, bar)
    return as_text(table)


def as_text(table: Table) -> str:
    """A table as it is printed."""
    out = io.StringIO()
    Console(file=out, width=WIDTH, highlight=False, markup=False, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def write_picture(case: Case, file: Path, *, given: str = "--picture") -> Path:
    """Draw a case by itself into a file.

    Raises
    ------
    InputError
        If the file is no picture, or cannot be written.
    """
    check_path(file, given=given, known=PICTURES)
    try:
        draw_reference(case).savefig(file, dpi=DPI)
    except OSError as error:
        raise InputError(file, f"cannot be written ({error.strerror or error})") from error
    return file
