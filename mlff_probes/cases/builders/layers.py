"""The layers of a crystal, and the smallest cell in which one interface between them slides."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from ase.geometry.dimensionality import analyze_dimensionality

from mlff_probes.cases.builders.crystals import SAME_A, Floats, Integers, formula, primitive, symmetry
from mlff_probes.core.errors import InputError
from mlff_probes.methods.neighbours import near_pairs

VACUUM_A = 5.0
"""Layers farther apart than this, A, are slabs in vacuum: van der Waals gaps are 2 to 4 A wide."""

SHOWN_SCORE = 0.05
"""Dimensionalities with a lower score, of 1 together, are not worth a word."""

REACH = 3
"""Indices of lattice vectors among which those of a layer are sought; in a reduced cell they are 0, 1 and 2."""


@dataclass(frozen=True)
class Layered:
    """A crystal of layers, cut so that one interface lies at the boundary of its cell.

    Attributes
    ----------
    cell
        The smallest cell: a1 along x and a2 in the plane of the layers, a3 from a layer to its image across the
        interface; the atoms by height, layer by layer, the middle of them at height 0.
    layers
        How many layers the cell holds.
    of_crystal
        How many layers the smallest cell of the crystal itself holds.
    interfaces
        How many of the interfaces of the crystal's cell differ by symmetry.
    bonded, parted
        The longest bond within the layers and the shortest distance between them, over the sums of covalent radii.
    """

    cell: Atoms
    layers: int
    of_crystal: int
    interfaces: int
    bonded: float
    parted: float

    @property
    def gap(self) -> float:
        """Distance of the outermost atoms across the interface, A."""
        heights = self.cell.positions[:, 2]
        return float(self.cell.cell.array[2, 2] - np.ptp(heights))

    def with_cell(self, cell: Atoms) -> Layered:
        """The same crystal in another setting of its cell."""
        return replace(self, cell=cell)

    @property
    def stacking_kept(self) -> bool:
        """Whether the cell repeats the crystal's own stacking, or one interface of it."""
        return self.layers == self.of_crystal


def layered(crystal: Atoms, where: Path, *, all_layers: bool = False) -> Layered:
    """Find the layers of `crystal`, and the cell that slides one interface.

    Layers are what holds together where ASE's dimensionality analysis (Larsen et al., Phys. Rev. Materials 3, 034003
    (2019)) scores highest. Where each layer is the one before it shifted, the cell holds one, and its third vector
    leads to the next; else it holds all layers of the smallest cell, and the interface at its boundary slides.

    Parameters
    ----------
    crystal
        Periodic in three directions.
    where
        Named in what is raised.
    all_layers
        Keep all layers of the crystal's smallest cell.

    Raises
    ------
    InputError
        If there are no layers, no interface, or layers of several kinds.
    """
    smallest = primitive(crystal)
    smallest.set_cell(minkowski_reduce(smallest.cell)[0])
    bonded, parted = _bond_range(smallest, where)
    whole, stack = _stacked(smallest, (bonded + parted) / 2, where)
    _check_alike(whole, stack, where)
    cut, kinds = _cut_at_widest(whole, stack)
    found = Layered(cut, len(stack), len(stack), kinds, bonded, parted)
    if found.gap > VACUUM_A:
        what = "a layer in vacuum" if len(stack) == 1 else "a slab"
        raise InputError(where, f"is {what}, with {found.gap:.1f} A of empty space beside it: nothing slides over it")
    if len(stack) > 1 and not all_layers and (one := _one_layer(cut, len(stack))) is not None:
        found = replace(found, cell=one, layers=1)
    return replace(found, cell=_centred(found.cell))


def _bond_range(atoms: Atoms, where: Path) -> tuple[float, float]:
    """The longest bond within the layers and the shortest distance between them, over sums of covalent radii."""
    try:
        scored = analyze_dimensionality(atoms)
    except TypeError:  # ASE gives up where atoms are too far apart for any bonds between them
        scored = []
    if scored and scored[0].dimtype == "2D":
        best = next(each for each in analyze_dimensionality(atoms, merge=False) if each.dimtype == "2D")
        return float(best.a), float(best.b)
    found = ", ".join(f"{each.dimtype} {each.score:.2f}" for each in scored if each.score > SHOWN_SCORE) or "0D"
    raise InputError(
        where,
        f"{formula(atoms)} has no layers: its bonds make it {found} (0D molecules, 1D chains, 2D layers, 3D all of it)",
        "sliding needs a crystal of layers with empty space between them",
    )


def _stacked(atoms: Atoms, ratio: float, where: Path) -> tuple[Atoms, list[list[int]]]:
    """The crystal with its layers in the plane of a1 and a2, and the atoms of each layer, from below to above."""
    labels, offsets, loops = _components(atoms, ratio)
    vectors = _plane_vectors(atoms.cell.array, loops)
    if vectors is None:
        raise InputError(where, f"the layers of {formula(atoms)} do not lie in one plane", "a stack is needed")
    cell = vectors @ atoms.cell.array
    normal, along = np.cross(cell[0], cell[1]), cell[0]
    axes = np.array([each / np.linalg.norm(each) for each in (along, np.cross(normal, along), normal)])
    unwrapped = (atoms.positions + offsets @ atoms.cell.array) @ axes.T
    turned = Atoms(atoms.numbers, positions=unwrapped, cell=cell @ axes.T, pbc=True)
    stack = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    for members in stack:  # into one period
        middle = turned.positions[members, 2].mean()
        turned.positions[members] -= np.floor(middle / turned.cell[2, 2]) * turned.cell[2]
    stack.sort(key=lambda members: float(turned.positions[members, 2].mean()))
    if min(_gaps(turned, stack)) <= 0:
        raise InputError(where, f"the layers of {formula(atoms)} reach into each other", "none of them can slide")
    return turned, stack


def _components(atoms: Atoms, ratio: float) -> tuple[Integers, Integers, Integers]:
    """Which atoms hang together, by cell vectors that bring those together, and by which ones they are periodic.

    Returns
    -------
    labels, offsets, loops
        Shapes (n_atoms,), (n_atoms, 3) and (n_loops, 3), in cell vectors.
    """
    found = near_pairs(atoms, ratio)
    labels, offsets = np.full(len(atoms), -1), np.zeros((len(atoms), 3), dtype=np.int64)
    for start in range(len(atoms)):
        if labels[start] >= 0:
            continue
        labels[start], queue = start, deque([start])
        while queue:
            here = queue.popleft()
            for row in np.flatnonzero(found.first == here):
                there = found.second[row]
                if labels[there] < 0:
                    labels[there], offsets[there] = start, offsets[here] + found.cells[row]
                    queue.append(int(there))
    loops = offsets[found.first] + found.cells - offsets[found.second]
    return labels, offsets, np.unique(loops, axis=0)


def _plane_vectors(lattice: Floats, loops: Integers) -> Integers | None:
    """Lattice vectors a1, a2 in the plane of `loops`, as short as can be, and a3 out of it; None if it is no plane.

    Rows in vectors of `lattice`, shape (3, 3), right-handed; a1 and a2 stand at 90 to 120 degrees.
    """
    normals = np.cross(loops[:, None], loops[None]).reshape(-1, 3)
    normals = normals[normals.any(axis=1)]
    if not len(normals):
        return None
    normal = normals[0] // np.gcd.reduce(normals[0])
    if (loops @ normal).any():
        return None
    reach = range(-max(REACH, *np.abs(normal)), max(REACH, *np.abs(normal)) + 1)
    sought = np.array(sorted(product(reach, repeat=3), key=lambda n: (round(float(np.linalg.norm(n @ lattice)), 4), n)))
    flat = [n for n in sought[::-1] if n.any() and n @ normal == 0]
    flat.sort(key=lambda n: round(float(np.linalg.norm(n @ lattice)), 4))
    first = flat[0]
    second = next(n for n in flat if abs(np.cross(first, n)).sum() == abs(normal).sum() and np.cross(first, n).any())
    if (first @ lattice) @ (second @ lattice) > 1e-6:
        second = -second
    third = next(n for n in sought if abs(n @ normal) == 1)
    vectors = np.array([first, second, third])
    if np.linalg.det(vectors @ lattice) < 0:
        vectors[2] *= -1
    return vectors


def _gaps(atoms: Atoms, stack: list[list[int]]) -> list[float]:
    """The empty space above each layer, A."""
    heights = [atoms.positions[members, 2] for members in stack]
    heights.append(heights[0] + atoms.cell.array[2, 2])
    return [float(above.min() - below.max()) for below, above in pairwise(heights)]


def _check_alike(atoms: Atoms, stack: list[list[int]], where: Path) -> None:
    """Refuse layers of several compositions: which of their interfaces is meant, nobody has said."""
    kinds = list(dict.fromkeys(str(atoms[members].symbols.formula.format("metal")) for members in stack))
    if len(kinds) > 1:
        raise InputError(
            where, f"its layers differ: {' and '.join(kinds)}, so that it has several kinds of interface",
            "layers of one composition are needed",
        )  # fmt: skip


def _cut_at_widest(atoms: Atoms, stack: list[list[int]]) -> tuple[Atoms, int]:
    """The crystal cut at its widest interface, atoms layer by layer, and how many kinds of interfaces there are."""
    gaps = _gaps(atoms, stack)
    top = len(stack) - 1 - int(np.argmax(np.round(gaps, 2)[::-1]))  # of equal ones the last
    height = atoms.cell.array[2, 2]
    tops = [atoms.positions[members, 2].max() for members in stack]
    middles = (np.array(tops) + np.array(gaps) / 2) / height
    rotations, translations = symmetry(atoms)
    images = np.outer(middles, rotations[:, 2, 2]) + translations[:, 2]
    off = images[:, :, None] - middles
    same = (np.abs(off - np.round(off)) * height < 10 * SAME_A).any(axis=1)
    kinds = len({tuple(row) for row in same})
    cut = atoms.copy()
    for members in stack[: top + 1]:
        cut.positions[members] += cut.cell.array[2]
    return cut[[atom for members in (*stack[top + 1 :], *stack[: top + 1]) for atom in members]], kinds


def _one_layer(atoms: Atoms, layers: int) -> Atoms | None:
    """The cell of the last layer alone, whose third vector leads to the next; None if shifts do not join them all."""
    size = len(atoms) // layers
    parts = [atoms[index * size : (index + 1) * size] for index in range(layers)]
    parts.append(parts[0].copy())
    parts[-1].positions += atoms.cell.array[2]
    shifts = [_shift(below, above) for below, above in pairwise(parts)]
    if any(shift is None for shift in shifts):
        return None
    one = parts[-2]
    one.set_cell([*atoms.cell.array[:2], shifts[-1]])
    return one


def _shift(below: Atoms, above: Atoms) -> Floats | None:
    """By which vector `above` is `below` moved, up to lattice vectors of the plane; None if it is not."""
    axes = np.array([*below.cell.array[:2], [0.0, 0.0, 1.0]])
    rare = min(set(below.numbers), key=lambda number: (int((below.numbers == number).sum()), int(number)))
    start = below.positions[below.numbers == rare][0]
    for end in above.positions[above.numbers == rare]:
        moved = end - start
        off = above.positions[None] - (below.positions + moved)[:, None]
        parts = off @ np.linalg.inv(axes)
        parts[..., :2] -= np.round(parts[..., :2])
        near = np.linalg.norm(parts @ axes, axis=2) < SAME_A
        same = near & (below.numbers[:, None] == above.numbers)
        if same.any(axis=1).all() and same.any(axis=0).all():
            shortest: Floats = moved - np.round(moved @ np.linalg.inv(axes))[:2] @ axes[:2]
            return shortest
    return None


def _centred(atoms: Atoms) -> Atoms:
    """The atoms by height, the middle of them at height 0, each in the cell of the plane."""
    found = atoms[np.lexsort((atoms.numbers, np.round(atoms.positions[:, 2], 3)))]
    found.positions[:, 2] -= (found.positions[:, 2].min() + found.positions[:, 2].max()) / 2
    parts = np.linalg.solve(found.cell.array[:2, :2].T, found.positions[:, :2].T).T
    found.positions[:, :2] -= np.floor(parts + 1e-6) @ found.cell.array[:2, :2]
    return found
