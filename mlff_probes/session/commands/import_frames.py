"""`mlff-probes import frames …`: a parity case of a labelled test set."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlff_probes.session.commands.common import add_common, next_command

if TYPE_CHECKING:
    from mlff_probes.cases.importers.labelled_set import LabelledSet
    from mlff_probes.cases.importers.set_quantities import Part

UNCERTAINTIES = {"energy": "meV/atom", "force": "meV/A", "stress": "GPa"}
"""Units of the uncertainties that are stated."""


def add(sources: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of `import frames`."""
    parser = sources.add_parser("frames", help="a test set: frames with energies and forces, of any number of files")
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="files or patterns: extxyz, .db, .traj, vasprun.xml, OUTCAR, outputs of CP2K, …",
    )
    add_common(parser, picture=False)
    for what, unit in UNCERTAINTIES.items():
        parser.add_argument(
            f"--uncertainty-{what}", type=float, metavar="X", help=f"of the labels, {unit}: what somebody measured"
        )
    parser.add_argument(
        "--energy-reference",
        choices=("composition", "elements", "absolute"),
        help="what is taken off the energy errors (default: what suits the set, and says why)",
    )
    parser.add_argument(
        "--by", metavar="KEY", help="what names the origin of a frame (default: origin, config_type or its file)"
    )
    for what in ("energy", "forces", "stress"):
        parser.add_argument(f"--{what}-key", metavar="NAME", help=f"name of the {what} (default: the usual ones)")
    parser.add_argument(
        "--check-stress", metavar="SPEC", help="a calculator whose finite differences show unit and sign of the stress"
    )
    parser.set_defaults(command=_frames)


def _frames(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.files import found_files
    from mlff_probes.cases.frames import slug
    from mlff_probes.cases.importers.labelled_set import SetOptions, labelled_set
    from mlff_probes.cases.writing import Draft, write_case
    from mlff_probes.core.protocol import LabelKeys

    stated = {what: getattr(parsed, f"uncertainty_{what}") for what in UNCERTAINTIES}
    found = labelled_set(
        parsed.source,
        SetOptions(
            level=parsed.level or "",
            by=parsed.by or "",
            energy_reference=parsed.energy_reference,
            uncertainty={what: value for what, value in stated.items() if value is not None},
            keys=LabelKeys(**{key: getattr(parsed, key) for key in LabelKeys.model_fields}),
            title=parsed.title or "",
            material=parsed.material,
        ),
    )
    yield from _said(found)
    if parsed.check_stress:
        yield _checked(found, parsed.check_stress)
    id = parsed.id or slug(found_files(parsed.source)[0].name.split(".")[0])
    file, case = write_case(parsed.to, Draft(id, found.table, found.frames), replace=parsed.replace)
    yield f"wrote {file} and {file.with_suffix('.extxyz').name}: {len(case.quantities)} quantities"
    yield next_command(parsed.to, id, case.tier)


def _said(found: LabelledSet) -> Iterator[str]:
    read, table = found.read, found.table
    atoms = sum(map(len, read.frames))
    frames = "1 frame" if len(read.frames) == 1 else f"{len(read.frames):,} frames"
    yield f"{frames} with {atoms:,} atoms {'is' if len(read.frames) == 1 else 'are'} judged"
    yield f"level of theory: {table.reference.level_of_theory}; {table.reference.source}"
    yield _as_table(found.parts)
    for note in table.notes:
        yield f"note: {note}"


def _as_table(parts: Sequence[Part]) -> str:
    """One row an origin."""
    from rich import box
    from rich.table import Table

    from mlff_probes.session.showing import as_text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("origin", "frames", "without labels", "with a stress", "atoms", "force RMS (eV/A)", "elements"):
        table.add_column(heading, justify="left" if heading in ("origin", "elements") else "right")
    for part in parts:
        counts = (f"{count:,}" for count in (part.frames, part.unlabelled, part.stressed))
        sizes = "-".join(str(size) for size in dict.fromkeys(part.sizes))
        table.add_row(part.name, *counts, sizes, f"{part.force_rms:.3f}", " ".join(part.elements))
    return as_text(table)


def _checked(found: LabelledSet, spec: str) -> str:
    """What finite differences of a calculator say of the stresses."""
    import numpy as np

    from mlff_probes.calculators.registry import quiet
    from mlff_probes.cases.importers.stress_check import check_stresses
    from mlff_probes.core.errors import InputError
    from mlff_probes.session.models import Loading, one_model

    stored = found.read.stored
    assert stored is not None
    rows = np.flatnonzero(stored.stressed)
    if stored.stresses is None or not len(rows):
        raise InputError(
            "--check-stress", "no frame carries a stress", "leave it out, or say where it is: --stress-key"
        )
    calculator = one_model(spec, Loading())
    with quiet():
        agreement = check_stresses(
            calculator, [found.read.frames[row] for row in rows], stored.stresses[rows], "--check-stress"
        )
    return (
        f"stress: unit and sign agree with finite differences of {calculator.label} on {agreement.frames} frames "
        f"({agreement.error_gpa:.2f} GPa apart, of {agreement.size_gpa:.2f})"
    )
