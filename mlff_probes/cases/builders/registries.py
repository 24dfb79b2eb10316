"""The way one layer slides over the next: its period, which of its registries are equal, and what lies atop what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlff_probes.cases.builders.crystals import SAME_A, Floats, Integers, symmetry
from mlff_probes.core.structures import derived
from mlff_probes.methods.neighbours import near_pairs

VACUUM_A = 30.0
"""Height of the cell in which the symmetry of the layers alone is sought, above them, A."""

LANDMARKS = (0.0, 1 / 3, 2 / 3)
"""Where three-fold axes of both layers meet along the long diagonal of a hexagonal cell."""

CONTACT = 3.0
"""Pairs within this times the sum of covalent radii count for which of two registries is the more crowded."""

TIE = 1e-9
"""Crowding of registries that are equal by symmetry differs by less: it is a sum of rounded numbers near 1."""

ATOP_A, OUTERMOST_A = 0.1, 0.2
"""Atoms no farther aside than the first stand atop each other; those within the second of the edge are outermost."""


@dataclass(frozen=True)
class Way:
    """One period of sliding.

    Attributes
    ----------
    vector
        The period in lattice vectors a1 and a2 of the plane; of a supercell, a fraction of its own.
    landmarks
        Whether u = 1/3 and 2/3 are places of high symmetry, the first the more crowded of the two.
    symmetry
        Operations W, shape (n, 2, 2), that take the shift of a layer over the next (in a1, a2) to one of equal energy.
    """

    vector: tuple[int | float, int | float]
    landmarks: bool
    symmetry: Integers


def slid(cell: Atoms, shift: Floats, *, gap_shift: float = 0.0) -> Atoms:
    """The cell with its third vector moved by `shift`, A, shape (3,), and up by `gap_shift`, A; the atoms stay."""
    moved = cell.cell.array.copy()
    moved[2] += shift
    moved[2, 2] += gap_shift
    return derived(cell, cell=moved)


def way_of_sliding(cell: Atoms, vector: tuple[int, int] | None = None) -> tuple[Atoms, Way]:
    """The period along which the layers of `cell` (`Layered.cell`) slide, and the cell itself.

    In hexagonal layers with a three-fold axis, unless a `vector` is given, the long diagonal of the cell; else the
    shortest lattice vector. Where its two other landmarks differ, the cell is turned by 180 degrees if that is needed
    for the way to lead to the more crowded of them first.
    """
    operations = shift_symmetry(cell)
    a1, a2 = cell.cell.array[:2]
    chosen = vector or ((2, 1) if _hexagonal(cell, operations) else (1, 0))
    period = float(np.linalg.norm(np.array(chosen) @ [a1, a2]))
    landmarks = _hexagonal(cell, operations) and abs(period - np.sqrt(3) * np.linalg.norm(a1)) < SAME_A
    if landmarks and _more_crowded(cell, chosen, *LANDMARKS[:0:-1]):
        cell = _half_turn(cell)
    return cell, Way(chosen, landmarks, operations)


def _half_turn(cell: Atoms) -> Atoms:
    """The cell turned by 180 degrees about the normal of the plane, with the same a1 and a2."""
    turn = np.diag([-1.0, -1.0, 1.0])
    return derived(cell, cell=[*cell.cell.array[:2], turn @ cell.cell.array[2]], positions=cell.positions @ turn)


def equal_registries(cell: Atoms, way: Way, places: Floats) -> list[int]:
    """For each registry (`places`, u, shape (n,)), the index of the first one that symmetry makes equal to it.

    A shift t of a layer over the next is equal to W t for each operation W of the layers alone that keeps them upright,
    and to -W t for each that turns them over, up to lattice vectors of the plane.
    """
    inverse = np.linalg.inv(cell.cell.array[:2, :2])
    start = cell.cell.array[2, :2] @ inverse
    shifts = start + np.outer(places, way.vector)
    first: list[int] = []
    for index in range(len(places)):
        images = way.symmetry @ shifts[index]
        off = images[:, None] - shifts[None, :index]
        off = (off - np.round(off)) @ cell.cell.array[:2, :2]
        same = np.flatnonzero((np.linalg.norm(off, axis=2) < SAME_A).any(axis=0))
        first.append(int(same[0]) if len(same) else index)
    return first


def atop(cell: Atoms) -> list[str]:
    """Which outermost atoms of the next layer stand straight above which of this, as "Te atop Te", each pair once."""
    heights = cell.positions[:, 2]
    top, bottom = (np.flatnonzero(np.abs(heights - edge) < OUTERMOST_A) for edge in (heights.max(), heights.min()))
    off = (cell.positions[bottom] + cell.cell.array[2])[None, :, :2] - cell.positions[top][:, None, :2]
    parts = off @ np.linalg.inv(cell.cell.array[:2, :2])
    near = np.linalg.norm((parts - np.round(parts)) @ cell.cell.array[:2, :2], axis=2) < ATOP_A
    return sorted(f"{cell.symbols[bottom[j]]} atop {cell.symbols[top[i]]}" for i, j in np.argwhere(near))


def shift_symmetry(cell: Atoms) -> Integers:
    """`Way.symmetry` of the layers of `cell`, from the space group of the layers in vacuum."""
    vacuum = cell.cell.array.copy()
    vacuum[2] = [0.0, 0.0, np.ptp(cell.positions[:, 2]) + VACUUM_A]
    rotations, _ = symmetry(derived(cell, cell=vacuum))
    found: Integers = rotations[:, :2, :2] * rotations[:, 2, 2][:, None, None]
    return np.unique(found, axis=0)


def _hexagonal(cell: Atoms, operations: Integers) -> bool:
    """Whether the layers have a three-fold axis."""
    return bool(any(np.trace(w) == -1 and round(np.linalg.det(w)) == 1 for w in operations))


def _more_crowded(cell: Atoms, vector: tuple[int, int], u: float, than: float) -> bool:
    """Whether more atoms stand atop each other at a registry than at another, or else they are nearer.

    How near is the sum of (R/r)^12 over pairs, R the sum of covalent radii. That alone takes AB graphite for more
    crowded than AA, as pair potentials do.
    """
    frames = [slid(cell, u * np.array(vector) @ cell.cell.array[:2]) for u in (u, than)]
    counts = [len(atop(frame)) for frame in frames]
    if counts[0] != counts[1]:
        return counts[0] > counts[1]
    sums = [float((near_pairs(frame, CONTACT).ratios ** -12.0).sum()) for frame in frames]
    return sums[0] > sums[1] + TIE
