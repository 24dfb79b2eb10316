"""`mlff-probes make …`: crystal -> cases whose frames wait for their energies."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlff_probes.core.errors import InputError
from mlff_probes.session.commands.common import DIRECTORY, judging_command, path_of

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray

    from mlff_probes.cases.builders.collisions import Contact
    from mlff_probes.cases.builders.dopants import Doped
    from mlff_probes.cases.builders.made import Made
    from mlff_probes.cases.builders.slides import Sliding


def add(commands: Any) -> None:
    """Add the parser of `make` and of what it makes."""
    parser = commands.add_parser("make", help="the frames that a case needs, from a crystal, without energies")
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    _add_sliding(kinds)
    _add_hops(kinds)


def _add_sliding(kinds: Any) -> None:
    parser = kinds.add_parser("sliding", help="one layer of a crystal over the next")
    _add_shared(parser)
    parser.add_argument(
        "--registries", type=int, default=12, metavar="N", help="of a period, a multiple of 6 (default: 12)"
    )
    parser.add_argument(
        "--gaps", type=float, nargs="*", metavar="A",
        help="of the fixed-gap cases, one each, beyond the gap of the crystal (default: 0 0.2, of a doped one 0)",
    )  # fmt: skip
    parser.add_argument(
        "--relaxed-gaps", type=float, nargs="*", metavar="A",
        help="of the relaxed-gap case, at each landmark; nothing for no such case (default: thirteen, -0.4 to 6; of a "
        "doped crystal none)",
    )  # fmt: skip
    parser.add_argument(
        "--slide-vector", type=int, nargs=2, metavar="N",
        help="the period in lattice vectors of the plane (default: what symmetry suggests)",
    )  # fmt: skip
    parser.add_argument(
        "--dopant",
        metavar="ELEMENT@SITE",
        help="one foreign atom beside the interface: Cr@Sb on a site, Cr@gap between",
    )
    parser.add_argument("--supercell", type=_two, metavar="NxN", help="in the plane, of a doped crystal (default: 2x2)")
    parser.add_argument("--all-layers", action="store_true", help="keep all layers of the crystal's smallest cell")
    parser.set_defaults(command=_sliding)


def _add_hops(kinds: Any) -> None:
    parser = kinds.add_parser("hops", help="the hops of a species that differ by symmetry")
    _add_shared(parser)
    parser.add_argument("--species", required=True, metavar="SYMBOL", help="what hops")
    parser.add_argument(
        "--interstitial", action="store_true",
        help="an atom that is added, between the voids of the crystal (default: into a vacancy of its own sites)",
    )  # fmt: skip
    parser.add_argument("--max-distance", type=float, metavar="A", help="longest hop (default: 1.3 times the shortest)")
    parser.add_argument(
        "--supercell", type=_three, metavar="NxNxN", help="of conventional cells (default: 8 A wide in all directions)"
    )
    parser.add_argument("--images", type=int, default=5, metavar="N", help="of the band, with its ends (default: 5)")
    parser.add_argument(
        "--kind", choices=("fixed", "relaxed", "both"), default="both",
        help="energies on the band as it is made, to be recorded, or a band that each model relaxes (default: both)",
    )  # fmt: skip
    parser.set_defaults(command=_hops)


def _add_shared(parser: Any) -> None:
    parser.add_argument("crystal", type=path_of, metavar="CRYSTAL", help="a crystal, in any format that ASE reads")
    parser.add_argument("--to", type=path_of, default=DIRECTORY, metavar="DIR", help=f"(default: {DIRECTORY})")
    parser.add_argument("--id", metavar="NAME", help="how the names of the cases begin (default: the formula)")
    parser.add_argument("--level", metavar="NAME", help="level of theory at which they will be recorded, as PBE")
    parser.add_argument("--replace", action="store_true", help="overwrite cases of these names")
    parser.add_argument("--no-picture", action="store_true", help="draw none beside the cases")
    parser.set_defaults(picture=None)


def _two(text: str) -> tuple[int, ...]:
    return _counts(text, 2)


def _three(text: str) -> tuple[int, ...]:
    return _counts(text, 3)


def _counts(text: str, n: int) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if len(parts) != n or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"must be {n} whole numbers, as {'x'.join('2' * n)}, found '{text}'")
    return tuple(map(int, parts))


def _sliding(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.builders.sliding import Wanted, sliding_cases

    wanted = Wanted(
        registries=parsed.registries, gaps=None if parsed.gaps is None else tuple(parsed.gaps),
        relaxed_gaps=None if parsed.relaxed_gaps is None else tuple(parsed.relaxed_gaps),
        all_layers=parsed.all_layers, id=parsed.id, dopant=parsed.dopant, supercell=parsed.supercell or (2, 2),
        vector=tuple(parsed.slide_vector) if parsed.slide_vector else None, level=parsed.level,
    )  # fmt: skip
    if parsed.supercell and not parsed.dopant:
        raise InputError("--supercell", "is for a doped crystal alone", "add --dopant, as --dopant=Cr@Sb")
    made = sliding_cases(parsed.crystal, wanted)
    yield from _layers(made)
    yield from _written(made.cases, parsed)


def _hops(parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.builders.hops import WantedHops, hop_cases

    wanted = WantedHops(
        species=parsed.species, interstitial=parsed.interstitial, longest=parsed.max_distance, images=parsed.images,
        supercell=parsed.supercell, id=parsed.id, level=parsed.level,
        kinds=("fixed", "relaxed") if parsed.kind == "both" else (parsed.kind,),
    )  # fmt: skip
    made = hop_cases(parsed.crystal, wanted)
    what = "voids" if wanted.interstitial else "sites"
    yield (
        f"{made.cases[0].table.material}: {made.sites} {what} for {wanted.species} in the conventional cell of "
        f"{len(made.crystal)} atoms; supercell {'x'.join(map(str, made.supercell))}"
    )
    for hop, cases in made.hops:
        places = [_place(made.crystal, place) for place in (hop.start, hop.end)]
        way = " to ".join(f"site {kind} at {place}" for kind, place in zip(hop.sites, places, strict=True))
        yield f"  {cases[0].id}: {hop.length:.3f} A, {way}; {hop.copies} equal ones in a cell"
    for hop, why in made.left_out:
        yield f"  left out: {hop.length:.3f} A, site {hop.sites[0]} to {hop.sites[1]}: {why}"
    yield from _written(made.cases, parsed)


def _place(crystal: Atoms, place: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{part:.3g}" for part in crystal.cell.scaled_positions(place[None])[0].round(3) + 0.0) + ")"


def _layers(made: Sliding) -> Iterator[str]:
    from mlff_probes.cases.builders.collisions import contact_across, nearest_to
    from mlff_probes.cases.builders.crystals import formula
    from mlff_probes.cases.builders.registries import LANDMARKS

    crystal, cell = made.crystal, made.crystal.cell
    yield (
        f"{formula(cell)}: bonds within the layers up to {crystal.bonded:.2f}, between them from "
        f"{crystal.parted:.2f} times the sum of covalent radii, {crystal.gap:.3f} A of gap"
    )
    a, b, _, _, _, gamma = cell.cell.cellpar()
    yield (
        f"cell: {len(cell)} atoms ({cell.symbols}), {crystal.layers} of the crystal's {crystal.of_crystal} layers, "
        f"a1 = {a:.3f} A, a2 = {b:.3f} A, {gamma:.1f} degrees; one period is {_way(made)}"
    )
    if made.way.landmarks:
        for name, u in zip(("crystal", "atop", "fault"), LANDMARKS, strict=True):
            yield f"  u = {('0', '1/3', '2/3')[round(3 * u)]:4} {name:8} {made.landmark(u)}"
    else:
        yield "  no three-fold axes meet along this way: u = 1/3 and 2/3 are no landmarks"
    yield f"  equal by symmetry: {made.equal_in_words}" if made.equal_groups else "  no two registries are equal"
    if made.doping:
        yield f"  {_doping(made.doping)}"
    for case in made.cases:
        if case.table.protocol.kind == "fixed_gap_slide":
            contacts = [contact_across(frame) for frame in case.frames]
            yield f"  {case.id}: nearest across the gap {_nearest(made, contacts)}"
            if made.doping:
                contacts = [nearest_to(frame, made.doping.atom) for frame in case.frames]
                yield f"  {case.id}: nearest to {made.doping.dopant.element} {_nearest(made, contacts)}"


def _doping(doping: Doped) -> str:
    size = "x".join(map(str, doping.supercell))
    place = "in the gap, going half-way" if doping.follows else f"on the {doping.dopant.site} beside the interface"
    return f"{doping.dopant.element} {place}, atom {doping.atom} of {len(doping.cell)} in the {size} cell"


def _nearest(made: Sliding, contacts: list[Contact]) -> str:
    least = min(range(len(contacts)), key=lambda index: contacts[index].ratio)
    pair = contacts[least]
    named = "-".join(made.base.symbols[[pair.first, pair.second]])
    return f"{pair.distance:.2f} A ({named}) at u = {made.fraction(least)}"


def _way(made: Sliding) -> str:
    import numpy as np

    along = " + ".join(f"{n if n != 1 else ''}{a}" for n, a in zip(made.way.vector, ("a1", "a2"), strict=True) if n)
    return f"{along}, {np.linalg.norm(made.period):.3f} A"


def _written(cases: tuple[Made, ...], parsed: argparse.Namespace) -> Iterator[str]:
    from mlff_probes.cases.writing import Draft, write_cases
    from mlff_probes.core.protocol import LabelKeys
    from mlff_probes.session.showing import picture_beside

    drafts = [Draft(made.id, made.table, made.frames, recorded=False) for made in cases]
    for made, (file, case) in zip(cases, write_cases(parsed.to, drafts, replace=parsed.replace), strict=True):
        yield f"wrote {file}: {len(made.frames)} frames of {len(made.frames[0])} atoms"
        if made.drawn:
            yield from picture_beside(replace(case, frames=made.drawn), file, parsed)
    ready = [made.id for made in cases if not isinstance(made.table.protocol, LabelKeys)]
    waiting = [made.id for made in cases if isinstance(made.table.protocol, LabelKeys)]
    if waiting:
        yield f"next: mlff-probes record {' '.join(waiting)} --reference={parsed.to} --calculator=SPEC"
    if ready:
        yield f"ready: {judging_command(parsed.to, ready, calculator='SPEC')}"
