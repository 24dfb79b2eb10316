"""Sites of a crystal between which an atom hops, and which of these hops differ by symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from scipy.spatial import Voronoi

from mlff_probes.cases.builders.crystals import SAME_A, Floats, Integers, symmetry
from mlff_probes.core.structures import derived
from mlff_probes.methods.neighbours import neighbours

ROOM = 0.75
"""A void has room for an atom that is no nearer to others there than this times the sum of their covalent radii."""

ROUNDING = 1e-6
"""Of places in cell vectors: those on a face of the cell are at 0, not at 1."""

AROUND_A = 12.0
"""Atoms this far around the cell are enough for the voids in it, A: no void of a crystal is half as wide."""

ONE_VOID_A = 1.0
"""Voids nearer to each other than this, A, are one: corners of one rounded hole. No bond is shorter but in hydrogen."""


@dataclass(frozen=True)
class Hop:
    """One of the hops of a crystal that differ by symmetry.

    Attributes
    ----------
    start, end
        Places in the crystal, A, shape (3,), between which the way is straight; `end` may lie in another cell.
    length
        A.
    sites
        Which kinds of sites it joins, numbered from 1; those of a kind are equal by symmetry.
    copies
        How many hops of a cell are equal to it by symmetry, forth and back counted once.
    """

    start: Floats
    end: Floats
    length: float
    sites: tuple[int, int]
    copies: int


def distinct_hops(crystal: Atoms, sites: Floats, longest: float) -> list[Hop]:
    """The hops between `sites` that no operation of the crystal's space group brings upon each other, shortest first.

    Parameters
    ----------
    crystal
        The host.
    sites
        All of the cell, in cell vectors, shape (n_sites, 3): whole orbits of the space group.
    longest
        A.
    """
    rotations, translations = symmetry(crystal)
    where, shifts = _mapped(crystal, sites, rotations, translations)
    kinds = np.unique(where.min(axis=0), return_inverse=True)[1] + 1
    positions = sites @ crystal.cell.array
    first, second, cells, lengths = neighbours(positions, crystal.cell.array, crystal.pbc, longest)
    found: dict[tuple[int, ...], list[int]] = {}
    for row in range(len(first)):
        i, j = first[row], second[row]
        way = rotations @ cells[row] + shifts[:, j] - shifts[:, i]
        forth = np.column_stack([where[:, i], where[:, j], way])
        back = np.column_stack([where[:, j], where[:, i], -way])
        found.setdefault(min(map(tuple, np.vstack([forth, back]).tolist())), []).append(row)
    hops = []
    for rows in found.values():
        row = rows[0]
        i, j = int(first[row]), int(second[row])
        end = positions[j] + cells[row] @ crystal.cell.array
        pair = (int(kinds[i]), int(kinds[j]))
        hops.append(Hop(positions[i], end, float(lengths[row]), pair, len(rows) // 2))
    return sorted(hops, key=lambda hop: (round(hop.length, 3), hop.sites))


def voids(crystal: Atoms, species: str) -> Floats:
    """All places of the cell that have room for an atom of `species`, in cell vectors, shape (n_sites, 3).

    Corners of the Voronoi polyhedra of the atoms are the places farthest from them: octahedral and tetrahedral ones
    among others. Those of a hole are one, and with each all that symmetry makes equal to it.
    """
    corners = _corners(crystal)
    radius = covalent_radii[atomic_numbers[species]]
    rooms = np.array([_room(crystal, corner, radius) for corner in corners])
    rotations, translations = symmetry(crystal)
    kept: list[Floats] = []
    for index in np.argsort(-rooms.round(3), kind="stable"):
        if rooms[index] < ROOM:
            break
        place = _middle(crystal, corners[index], _orbit(crystal, corners[index], rotations, translations))
        orbit = _orbit(crystal, place, rotations, translations)
        if not kept or not _near(crystal, place, np.vstack(kept), ONE_VOID_A).any():
            kept.append(orbit)
    return np.vstack(kept) if kept else np.zeros((0, 3))


def _middle(crystal: Atoms, place: Floats, orbit: Floats) -> Floats:
    """The middle of those of an orbit that belong to one hole with `place`, itself among them."""
    beside = orbit[_near(crystal, place, orbit, ONE_VOID_A)] - place
    middle: Floats = place + (beside - np.round(beside)).mean(axis=0)
    return middle


def _mapped(crystal: Atoms, sites: Floats, rotations: Integers, translations: Floats) -> tuple[Integers, Integers]:
    """Upon which site, and in which cell, each operation brings each site: shapes (n, n_sites) and (n, n_sites, 3)."""
    images = np.einsum("oab,sb->osa", rotations, sites) + translations[:, None]
    off = images[:, :, None] - sites
    aside = np.linalg.norm((off - np.round(off)) @ crystal.cell.array, axis=3)
    where: Integers = aside.argmin(axis=2)
    cells = np.round(images - sites[where]).astype(np.int64)
    return where, cells


def _corners(crystal: Atoms) -> Floats:
    """Corners of the Voronoi polyhedra in the cell, in cell vectors."""
    heights = crystal.cell.volume / np.linalg.norm(
        np.cross(crystal.cell.array[[1, 2, 0]], crystal.cell.array[[2, 0, 1]]), axis=1
    )
    repeats = 2 * np.ceil(AROUND_A / heights).astype(int) + 1
    around = derived(crystal, repeat=repeats.tolist())
    corners = np.linalg.solve(crystal.cell.array.T, Voronoi(around.positions).vertices.T).T - repeats // 2
    inside = ((corners > -1e-6) & (corners < 1 - 1e-6)).all(axis=1)
    found: Floats = corners[inside]
    return found


def _room(crystal: Atoms, place: Floats, radius: float) -> float:
    """The nearest distance of a place to an atom over the sum of covalent radii."""
    off = crystal.get_scaled_positions() - place
    whole = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(((off - np.round(off))[:, None] + whole) @ crystal.cell.array, axis=2).min(axis=1)
    return float((lengths / (covalent_radii[crystal.numbers] + radius)).min())


def _orbit(crystal: Atoms, place: Floats, rotations: Integers, translations: Floats) -> Floats:
    """All places of the cell that symmetry makes equal to one, each once."""
    images = (rotations @ place + translations + ROUNDING) % 1.0 - ROUNDING
    kept: list[Floats] = []
    for image in images:
        if not kept or not _near(crystal, image, np.array(kept), 10 * SAME_A).any():
            kept.append(image)
    return np.array(kept)


def _near(crystal: Atoms, place: Floats, others: Floats, within: float) -> Integers:
    """Which of `others` lie within a distance, A, of a place, all in cell vectors."""
    off = others - place
    near: Integers = np.linalg.norm((off - np.round(off)) @ crystal.cell.array, axis=1) < within
    return near
