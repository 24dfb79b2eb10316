"""A case by itself, without any model: its curve in the terminal, and as a picture."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich import box
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from mlff_probes.cases.files import files_of
from mlff_probes.cases.listing import WIDTH
from mlff_probes.cases.load import load_case
from mlff_probes.cases.tolerances import load_policy
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import Measurement
from mlff_probes.scorecard.files import check_path
from mlff_probes.scorecard.reports.figures import DPI, PICTURES, draw_reference
from mlff_probes.session.assemble import all_cases

BAR = 40
"""Width of the bars, letters."""


class Curve(NamedTuple):
    """A curve of a reference: the names of its arrays, and what the first is called."""

    x: str
    energy: str
    heading: str


CURVES = (
    Curve("path_fraction", "energy", "path"),
    Curve("slide", "energy", "slide"),
    *(Curve(f"gap_{name}", f"energy_{name}", f"gap, {name} (A)") for name in ("crystal", "atop", "fault")),
)


def found_case(given: str, references: Sequence[Path]) -> Case:
    """A case by its file, or by its id in reference directories and in the package.

    Raises
    ------
    InputError
        If there is none, or it cannot be read.
    """
    if given.endswith(".toml"):
        return load_case(Path(given).expanduser(), recorded=False)
    for file in files_of(given, (*references, DIRECTORY)):  # a case of one's own before that of the package
        return load_case(file, recorded=False)
    for case in (cases := all_cases([DIRECTORY, *references], load_policy())):
        if isinstance(case, Case) and case.id == given:  # a bare band
            return case
    raise InputError("", f"there is no case '{given}'", f"there are {', '.join(case.id for case in cases)}")


def curves(case: Case, names: Sequence[str] = ()) -> str:
    """The curves of the reference of a case, one line a point with a bar; empty where it has none.

    `names` say where each image of a path was read from.
    """
    if case.reference is None:
        return ""
    arrays = case.reference.arrays
    known = [each for each in CURVES if each.x in arrays and each.energy in arrays]
    return "\n\n".join(as_text(_curve(each, case.reference, names)) for each in known)


def _curve(curve: Curve, reference: Measurement, names: Sequence[str]) -> Table:
    energies = np.array(reference.arrays[curve.energy], dtype=float)
    across = reference.diagnostics.get("perpendicular_force_ev_per_a") if curve.x == "path_fraction" else None
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("", justify="right")
    if names:
        table.add_column("from")
    for heading in (curve.heading, "energy (eV)", *(["force across the path (eV/A)"] if across else [])):
        table.add_column(heading, justify="right")
    table.add_column("", width=BAR)
    low, span = energies.min(), max(float(np.ptp(energies)), np.finfo(float).tiny)
    for index, (place, energy) in enumerate(zip(reference.arrays[curve.x], energies, strict=True)):
        inner = across and 0 < index < len(energies) - 1
        force = [f"{across[index - 1]:.3f}" if inner else "—"] if across else []
        bar = Bar(size=span, begin=0.0, end=float(energy - low), width=BAR)
        table.add_row(str(index), *([names[index]] if names else []), f"{place:.3f}", f"{energy:.4f}", *force, bar)
    return table


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


def check_picture(parsed: argparse.Namespace) -> None:
    """Refuse a ``--picture`` that cannot be drawn before anything is written."""
    if parsed.picture is not None:
        check_path(parsed.picture, given="--picture", known=PICTURES)


def picture_beside(case: Case, file: Path, parsed: argparse.Namespace) -> Iterator[str]:
    """Draw a case that was written to `file`, unless ``--no-picture`` says not to; a failure costs no case."""
    if parsed.no_picture:
        return
    try:
        yield f"picture: {write_picture(case, parsed.picture or file.with_suffix('.png'))}"
    except InputError as error:
        yield f"note: no picture was drawn ({error})"
