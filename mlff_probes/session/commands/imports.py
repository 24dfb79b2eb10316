"""`mlff-probes import …`: a case of what lies on a disk."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mlff_probes.core.errors import InputError
from mlff_probes.session.commands import import_frames, import_trajectory
from mlff_probes.session.commands.common import add_common, next_command, path_of

if TYPE_CHECKING:
    from mlff_probes.cases.importers.imported_path import ImportedPath


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of `import`, with one below it for each kind of source."""
    parser = commands.add_parser("import", help="make a case of what lies on a disk: a path, a test set, a trajectory")
    sources = parser.add_subparsers(required=True, metavar="WHAT")
    for add_source in SOURCES:
        add_source(sources)


def _add_path(sources: argparse._SubParsersAction[Any]) -> None:
    parser = sources.add_parser("path", help="a migration path: a NEB of VASP, Quantum ESPRESSO, CP2K, GPAW, ASE, …")
    parser.add_argument(
        "source", nargs="+", type=path_of, metavar="SOURCE", help="folder or file of a band, or one output an image"
    )
    add_common(parser)
    parser.add_argument("--uncertainty", type=float, metavar="EV", help="of the energies, eV: what somebody measured")
    parser.add_argument("--migrating-atom", type=int, metavar="N", help="from 0 (default: what moves farthest)")
    parser.add_argument("--initial", type=path_of, metavar="DIR", help="where the first image was computed")
    parser.add_argument("--final", type=path_of, metavar="DIR", help="where the last image was computed")
    parser.add_argument(
        "--kind", choices=("fixed", "relaxed"), default="fixed",
        help="judge a model at these images, or let it relax the band between the ends (default: fixed)",
    )  # fmt: skip
    parser.add_argument(
        "--order",
        choices=("names", "geometry"),
        help="order of the images (default: names, if they agree with geometry)",
    )
    parser.add_argument("--made-by", metavar="TEXT", help="what made the geometry of the path: a model, say")
    parser.add_argument(
        "--allow-mixed", metavar="REASON", help="why differing settings do not matter; goes into the case"
    )
    parser.add_argument("--reorder-atoms", action="store_true", help="number the atoms of all images as in the first")
    for what in ("energy", "forces"):
        parser.add_argument(f"--{what}-key", metavar="NAME", help=f"name of the {what} (default: the usual ones)")
    parser.set_defaults(command=_path)


SOURCES: tuple[Callable[[argparse._SubParsersAction[Any]], None], ...] = (
    _add_path,
    import_frames.add,
    import_trajectory.add,
)
"""The kinds of sources."""


def _path(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.importers.bands import Wanted
    from mlff_probes.cases.importers.imported_path import import_path
    from mlff_probes.session.selection import stated_band
    from mlff_probes.session.showing import check_picture, curves, picture_beside

    check_picture(parsed)
    if parsed.allow_mixed is not None and not parsed.allow_mixed.strip():
        raise InputError("--allow-mixed", "needs a reason", "say why settings that differ do not matter")
    stated = stated_band(
        parsed.material, parsed.level, parsed.uncertainty, parsed.migrating_atom, energy_key=parsed.energy_key,
        forces_key=parsed.forces_key, reorder_atoms=parsed.reorder_atoms or None, title=parsed.title,
        path_made_by=parsed.made_by,
    )  # fmt: skip
    made = import_path(
        parsed.source,
        parsed.to,
        id=parsed.id,
        stated=stated,
        wanted=Wanted(parsed.initial, parsed.final, parsed.order, parsed.allow_mixed),
        relaxed=parsed.kind == "relaxed",
        replace_it=parsed.replace,
    )
    yield from _what_was_read(made, stated_level=parsed.level)
    yield curves(made.path, made.band.names)
    for note in made.case.notes:
        yield f"note: {note}"
    yield f"wrote {made.file} and its frames"
    yield from picture_beside(made.path, made.file, parsed)
    yield next_command(parsed.to, made.case.id)


def _what_was_read(made: ImportedPath, *, stated_level: str | None) -> Iterator[str]:
    case, first = made.path, made.path.frames[0]
    atom = getattr(case.protocol, "migrating_atom")  # noqa: B009 - of paths alone
    yield f"{len(case.frames)} images of {first.get_chemical_formula()}, {first.symbols[atom]} (atom {atom}) moves"
    origin = "as stated" if stated_level else "as the outputs say"
    yield f"level of theory: {case.level_of_theory} ({origin})"
    if str(made.band.settings):
        yield f"computed with {made.band.settings}"
    assert case.reference is not None
    barrier, back, reaction = (
        case.reference.values[name].value for name in ("barrier", "reverse_barrier", "reaction_energy")
    )
    yield f"barrier {barrier:.3f} eV, back {back:.3f} eV, from end to end {reaction:+.3f} eV"
    if case.stored is not None and case.stored.forces is None:
        yield "note: there are no forces in what was read, so that energies alone are judged"
    if caveat := case.reference.values["barrier"].caveat:
        yield f"note: {caveat}"
