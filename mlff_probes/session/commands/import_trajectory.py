"""`mlff-probes import trajectory …`: a case of dynamics of a simulation that another code made."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlff_probes.session.commands.common import add_common, next_command, path_of

if TYPE_CHECKING:
    from mlff_probes.cases.importers.aimd_quantities import Finding


def add(sources: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of `import trajectory`."""
    parser = sources.add_parser("trajectory", help="molecular dynamics: of VASP, CP2K, pw.x, LAMMPS, or in frames")
    parser.add_argument(
        "source", type=path_of, metavar="SOURCE",
        help="vasprun.xml, OUTCAR, XDATCAR, PROJECT-pos-1.xyz or its folder, output of pw.x, dump of LAMMPS, extxyz, …",
    )  # fmt: skip
    add_common(parser)
    parser.add_argument("--timestep-fs", type=float, metavar="FS", help="step of the integrator, where no file says it")
    parser.add_argument("--interval-fs", type=float, metavar="FS", help="time between frames, where no file says it")
    parser.add_argument("--temperature", type=float, metavar="K", help="of the thermostat, where no file says it")
    parser.add_argument("--ensemble", choices=("NVE", "NVT", "NPT"), help="where no file says it")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N frames (default: 0)")
    parser.add_argument("--units", metavar="UNITS", help="of a dump of LAMMPS: metal, real, …")
    parser.add_argument("--types", metavar="X,Y", help="of a dump of LAMMPS: the element of each type of atom")
    for what in ("energy", "forces"):
        parser.add_argument(f"--{what}-key", metavar="NAME", help=f"name of the {what} (default: the usual ones)")
    parser.set_defaults(command=_trajectory)


def _trajectory(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.frames import slug
    from mlff_probes.cases.importers.aimd import RunOptions, imported_run
    from mlff_probes.cases.writing import Draft, write_case
    from mlff_probes.core.errors import InputError
    from mlff_probes.core.protocol import LabelKeys
    from mlff_probes.session.showing import check_picture, picture_beside

    check_picture(parsed)
    for name in ("timestep_fs", "interval_fs", "temperature"):
        if (given := getattr(parsed, name)) is not None and not 0 < given < float("inf"):
            raise InputError(f"--{name.replace('_', '-')}={given}", "must be larger than zero")
    if parsed.skip < 0:
        raise InputError(f"--skip={parsed.skip}", "must not be negative")
    id = parsed.id or slug(parsed.source.resolve().name.split(".")[0])
    options = RunOptions(
        level=parsed.level or "", timestep_fs=parsed.timestep_fs, interval_fs=parsed.interval_fs,
        temperature=parsed.temperature, ensemble=parsed.ensemble, skip=parsed.skip, units=parsed.units,
        types=tuple(filter(None, (parsed.types or "").split(","))),
        keys=LabelKeys(energy_key=parsed.energy_key, forces_key=parsed.forces_key), title=parsed.title or "",
        material=parsed.material,
    )  # fmt: skip
    found = imported_run(parsed.source, id, options)
    yield found.summary
    yield f"level of theory: {found.table.reference.level_of_theory}; {found.table.reference.source}"
    yield _as_table(found.findings)
    name = f"{id}_trajectory.extxyz"
    file, case = write_case(
        parsed.to, Draft(id, found.table, [found.start], {name: found.frames}), replace=parsed.replace
    )
    for note in case.notes:
        if not note.startswith("Not in this case"):
            yield f"note: {note}"
    yield f"wrote {file}, its first frame and {name}"
    yield from picture_beside(case, file, parsed)
    yield next_command(parsed.to, id, case.tier)


def _as_table(findings: Sequence[Finding]) -> str:
    """What the trajectory gives, one line a quantity, with a reason where it gives too little."""
    from rich import box
    from rich.table import Table

    from mlff_probes.core.units import number
    from mlff_probes.session.showing import as_text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("quantity", "reference", "±", "unit", ""):
        table.add_column(heading, justify="right" if heading in ("reference", "±") else "left")
    for row in findings:
        said = row.reason or ("judged" if row.judged else "reported")
        values = [number(value, row.unit) for value in (row.value, row.uncertainty)]
        table.add_row(row.quantity, *values, row.unit, said)
    return as_text(table)
