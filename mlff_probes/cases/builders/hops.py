"""Crystal -> cases of migration: each hop of a species that differs by symmetry, with its band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atom, Atoms
from ase.data import atomic_numbers
from ase.geometry import find_mic

from mlff_probes.cases.builders.collisions import collision
from mlff_probes.cases.builders.crystals import Floats, conventional, formula, read_crystal
from mlff_probes.cases.builders.made import UNMEASURED, Made, shared_keys
from mlff_probes.cases.builders.sites import Hop, distinct_hops, voids
from mlff_probes.cases.load import CaseFile, ExpectationTable
from mlff_probes.core.errors import InputError
from mlff_probes.core.structures import derived
from mlff_probes.measure.migration.path_problems import far_hop
from mlff_probes.measure.migration.protocols import FixedPath, RelaxedPath
from mlff_probes.methods.bands.interpolation import interpolate_band

FARTHER = 1.3
"""Hops up to this times the shortest are made, unless a longest is named: the next shell of a lattice is at 1.4."""

WIDE_A = 8.0
"""A supercell is so wide in each direction, A, unless one is named, that a defect is some bonds from its images."""

IN_THE_WAY_A, STOPS = 0.5, 41
"""An atom nearer to the straight way of a hop than this, A, at so many places along it, cannot be gone around: this is
two hops, or an exchange."""

LONGEST_A = 15.0
"""No atom hops farther, A."""

FEWEST_IMAGES, MOST_IMAGES = 3, 99

MOST_HOPS = 12
"""More than this are not wanted by anybody who did not say how far."""

JUDGED = ("barrier", "reverse_barrier", "reaction_energy", "profile_mae", "force_mae", "migrating_force_mae")


@dataclass(frozen=True)
class WantedHops:
    """What a user asks for.

    Attributes
    ----------
    species
        Symbol of what hops.
    interstitial
        Between the voids of the crystal, by an atom that is added; else into a vacancy among its own sites.
    longest
        Of a hop, A; None for little more than the shortest.
    supercell
        Conventional cells in each direction; None for as many as are `WIDE_A` wide.
    images
        Of the band, its ends included.
    kinds
        Which cases are made of each hop.
    id, level
        As for sliding.
    """

    species: str
    interstitial: bool = False
    longest: float | None = None
    supercell: tuple[int, int, int] | None = None
    images: int = 5
    kinds: tuple[Literal["fixed", "relaxed"], ...] = ("fixed", "relaxed")
    id: str | None = None
    level: str | None = None


@dataclass(frozen=True)
class Hops:
    """What was made: the hops with their cases, and those left out, each with the reason."""

    crystal: Atoms
    supercell: tuple[int, int, int]
    sites: int
    hops: tuple[tuple[Hop, tuple[Made, ...]], ...]
    left_out: tuple[tuple[Hop, str], ...]

    @property
    def cases(self) -> tuple[Made, ...]:
        """All that was made."""
        return tuple(case for _, cases in self.hops for case in cases)


@dataclass(frozen=True)
class Band:
    """The images of a hop: how its cases are called, the frames, the atom that hops, and which hop it is."""

    name: str
    title: str
    frames: list[Atoms]
    atom: int
    hop: Hop

    @property
    def note(self) -> str:
        """What a reader must know of it."""
        start, end = self.hop.sites
        return (
            f"A hop of {self.hop.length:.3f} A from a site of kind {start} to one of kind {end}; {self.hop.copies} in "
            f"a conventional cell are equal by symmetry. {len(self.frames[0])} atoms; no charge is added."
        )


def hop_cases(path: Path, wanted: WantedHops) -> Hops:
    """Find the hops of a species that differ by symmetry, and make cases of each.

    Vacancy hops join sites of the species, whose atom moves into an empty one; interstitial hops join places between
    the atoms (`voids`). The band is interpolated with IDPP and minimum image (`interpolate_band`) in a supercell of
    the conventional cell; nothing is relaxed, and nothing is charged.

    Raises
    ------
    InputError
        If the file holds no crystal, or not this species, there is no room or no hop, or the supercell is too small.
    """
    _check(wanted)
    crystal = conventional(read_crystal(path))
    sites = _sites(crystal, wanted, path)
    hops = _within(crystal, sites, wanted, path)
    supercell = wanted.supercell or _wide_enough(crystal)
    host = derived(crystal, repeat=supercell)
    material = formula(crystal)
    kind, way = ("interstitial", "between voids") if wanted.interstitial else ("hop", "into a vacancy")
    name = wanted.id or f"{material.lower()}_{wanted.species.lower()}_{kind}"
    shared = shared_keys(material, wanted.level, f"geometry made of {path.name} by mlff-probes make hops")
    made: list[tuple[Hop, tuple[Made, ...]]] = []
    left_out: list[tuple[Hop, str]] = []
    for hop in hops:
        ends, atom = _ends(host, hop, wanted)
        if why := _in_the_way(ends, atom, hop):
            left_out.append((hop, why))
            continue
        frames = _images(ends, hop, wanted, supercell)
        if why := _colliding(frames):
            left_out.append((hop, why))
            continue
        band = Band(f"{name}_{len(made) + 1}", f"{wanted.species} {way} of {material}", frames, atom, hop)
        made.append((hop, _cases(band, wanted.kinds, shared)))
    if not made:
        raise InputError(path, f"atoms collide on every hop: {left_out[0][1]}", "another --max-distance or species")
    return Hops(crystal, supercell, len(sites), tuple(made), tuple(left_out))


def _in_the_way(ends: Sequence[Atoms], atom: int, hop: Hop) -> str:
    """Which other atom stands on the straight way of a hop; empty for none."""
    start = ends[0]
    others = np.arange(len(start)) != atom
    places = hop.start + np.linspace(0.0, 1.0, STOPS)[:, None] * (hop.end - hop.start)
    off = (start.positions[others] - places[:, None]).reshape(-1, 3)
    lengths = find_mic(off, start.cell, start.pbc)[1].reshape(STOPS, -1)
    index = int(lengths.min(axis=0).argmin())
    if lengths[:, index].min() > IN_THE_WAY_A:
        return ""
    return f"it passes {start.symbols[np.flatnonzero(others)[index]]} at {lengths[:, index].min():.2f} A"


def _images(ends: Sequence[Atoms], hop: Hop, wanted: WantedHops, supercell: tuple[int, int, int]) -> list[Atoms]:
    """The band of a hop."""
    if far_hop(ends):
        size = "x".join(map(str, supercell))
        raise InputError(
            "--supercell", f"{size} is too small: a hop of {hop.length:.2f} A goes half-way to the next image",
            "a larger one makes clear which way it goes",
        )  # fmt: skip
    return _numbered(interpolate_band(ends, wanted.images))


def _colliding(frames: Sequence[Atoms]) -> str:
    """Which atoms run into each other on a path; empty where none do."""
    if (found := collision(frames)) is None:
        return ""
    index, pair = found
    named = "-".join(frames[index].symbols[[pair.first, pair.second]])
    return f"{named} {pair.distance:.2f} A apart in image {index}"


def _check(wanted: WantedHops) -> None:
    if wanted.species not in atomic_numbers or wanted.species == "X":
        raise InputError("--species", f"there is no element '{wanted.species}'")
    if not FEWEST_IMAGES <= wanted.images <= MOST_IMAGES:
        raise InputError("--images", f"a band has {FEWEST_IMAGES} to {MOST_IMAGES}, found {wanted.images}")
    if wanted.supercell is not None and min(wanted.supercell) < 1:
        raise InputError("--supercell", f"must be whole numbers of 1 or more, found {wanted.supercell}")
    if wanted.longest is not None and not 0 < wanted.longest <= LONGEST_A:
        raise InputError("--max-distance", f"must be positive and {LONGEST_A:g} A at most, found {wanted.longest:g}")


def _sites(crystal: Atoms, wanted: WantedHops, path: Path) -> Floats:
    """The sites of the cell that hops join, in cell vectors."""
    if wanted.interstitial:
        found = voids(crystal, wanted.species)
        if not len(found):
            raise InputError(path, f"{formula(crystal)} has no room for {wanted.species} between its atoms")
        return found
    here: Floats = crystal.get_scaled_positions()[crystal.symbols == wanted.species]
    if not len(here):
        there = ", ".join(sorted(set(crystal.symbols)))
        raise InputError(
            path, f"holds no {wanted.species}, only {there}", "with --interstitial it is added between the atoms"
        )
    return here


def _within(crystal: Atoms, sites: Floats, wanted: WantedHops, path: Path) -> list[Hop]:
    """The hops no longer than is asked for, or little longer than the shortest."""
    longest, reach = wanted.longest, wanted.longest or 4.0
    while not (hops := distinct_hops(crystal, sites, reach)) and longest is None:
        reach *= FARTHER
    if not hops:
        raise InputError(path, f"no two sites of {wanted.species} are within {longest:g} A", "a larger --max-distance")
    if longest is None:
        longest = FARTHER * hops[0].length
        hops = [hop for hop in distinct_hops(crystal, sites, longest) if hop.length <= longest]
    if len(hops) > MOST_HOPS:
        raise InputError(
            path, f"{len(hops)} hops of {wanted.species} differ by symmetry, up to {longest:.2f} A",
            f"a smaller --max-distance leaves {MOST_HOPS} or fewer",
        )  # fmt: skip
    return hops


def _wide_enough(crystal: Atoms) -> tuple[int, int, int]:
    planes = np.cross(crystal.cell.array[[1, 2, 0]], crystal.cell.array[[2, 0, 1]])
    heights = crystal.cell.volume / np.linalg.norm(planes, axis=1)
    first, second, third = np.ceil(WIDE_A / heights - 1e-6).astype(int).tolist()
    return first, second, third


def _ends(host: Atoms, hop: Hop, wanted: WantedHops) -> tuple[list[Atoms], int]:
    """The supercell with the atom at either end of the hop, and its index."""
    if wanted.interstitial:
        ends = []
        for place in (hop.start, hop.end):
            frame = derived(host)
            frame.append(Atom(wanted.species, place))
            ends.append(frame)
        return ends, len(host)
    moves, empty = (_atom_at(host, place) for place in (hop.start, hop.end))
    start = derived(host, order=[atom for atom in range(len(host)) if atom != empty])
    atom = moves - (empty < moves)
    places = start.positions.copy()
    places[atom] += hop.end - hop.start
    return [start, derived(start, positions=places)], atom


def _atom_at(host: Atoms, place: Floats) -> int:
    off = np.linalg.solve(host.cell.array.T, (host.positions - place).T).T
    return int(np.linalg.norm((off - np.round(off)) @ host.cell.array, axis=1).argmin())


def _numbered(band: Sequence[Atoms]) -> list[Atoms]:
    frames = [derived(image) for image in band]
    for index, frame in enumerate(frames):
        frame.info = {"image": index}
    return frames


def _cases(band: Band, kinds: Sequence[str], shared: dict[str, Any]) -> tuple[Made, ...]:
    make = {"fixed": _fixed, "relaxed": _relaxed}
    return tuple(make[kind](band, shared) for kind in kinds)


def _fixed(band: Band, shared: dict[str, Any]) -> Made:
    """A case of energies on the band as it is, which waits for those of its reference."""
    units = FixedPath.quantities
    by = "IDPP between the sites of the crystal, not relaxed"
    table = CaseFile(
        **shared,
        title=f"{band.title}, {band.hop.length:.2f} A, on a path that is not relaxed",
        protocol=FixedPath(kind="fixed_path", migrating_atom=band.atom, path_made_by=by),
        expectation=tuple(ExpectationTable(quantity=name, unit=units[name], uncertainty=0.0) for name in JUDGED),
        notes=(band.note, UNMEASURED),
    )
    return Made(band.name, table, tuple(band.frames), drawn=tuple(band.frames))


def _relaxed(band: Band, shared: dict[str, Any]) -> Made:
    """A case whose band every model relaxes itself between the sites; its barrier is reported."""
    exact = ExpectationTable(
        quantity="outcome", unit="1", value=1.0, uncertainty=0.0, level_of_theory="exact",
        source="exact: only a converged band has a barrier",
    )  # fmt: skip
    unknown = "No barrier of a reference is known: give one as `value` of an [[expectation]] to have it judged."
    shared = shared | {"reference": shared["reference"].model_copy(update={"level_of_theory": "none"})}
    table = CaseFile(
        **shared,
        title=f"{band.title}, {band.hop.length:.2f} A, band relaxed",
        protocol=RelaxedPath(kind="relaxed_path", migrating_atom=band.atom, path_made_by="sites of the crystal"),
        expectation=(exact,),
        report=tuple(name for name in RelaxedPath.quantities if name != "outcome"),
        notes=(band.note, unknown),
    )
    return Made(f"{band.name}_relaxed", table, tuple(_numbered([band.frames[0], band.frames[-1]])))
