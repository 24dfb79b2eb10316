"""Which atoms are near each other, and whether they hang together: for cells of any shape, and of many atoms."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

FIRST_GAP, GAP_GROWTH = 1.5, 1.5
"""Distances over the sum of covalent radii within which neighbours are sought first, and how that grows until all
atoms hang together. Bonds are at 1, van der Waals gaps at 1.3."""


class Neighbours(NamedTuple):
    """Directed pairs of atoms, each from both ends, images of atoms included, those of the atom itself too.

    `cells` are the cell vectors by which the second atom is shifted, shape (n_pairs, 3); `distances` in A.
    """

    first: Indices
    second: Indices
    cells: Indices
    distances: Floats


class Pairs(NamedTuple):
    """Pairs of atoms, images included and each from both ends, and their distances over the sums of covalent radii.

    `cells` as for `Neighbours`.
    """

    first: Indices
    second: Indices
    ratios: Floats
    cells: Indices


def neighbours(positions: Floats, cell: Floats, pbc: Sequence[bool] | NDArray[np.bool_], cutoff: float) -> Neighbours:
    """All pairs of atoms no farther apart than `cutoff`, found by vesin.

    Parameters
    ----------
    positions
        A, finite, wrapped or not, shape (n_atoms, 3).
    cell
        A, rows are the cell vectors, of any shape but with a volume.
    pbc
        Directions in which the cell is periodic.
    cutoff
        A; may be larger than the cell.
    """
    search = _neighbour_list()(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
    first, second, cells, distances = search.compute(positions, cell, [bool(each) for each in pbc], "ijSd")
    return Neighbours(first.astype(np.intp), second.astype(np.intp), cells.astype(np.intp), distances)


@cache
def _neighbour_list() -> Any:
    """Vesin's search, imported without torch where nothing has loaded that yet.

    vesin imports torch, in a second or two, to be able to take tensors, which it is never given here.
    """
    if "torch" in sys.modules:
        from vesin import NeighborList

        return NeighborList
    sys.modules["torch"] = None  # type: ignore[assignment] # "not there", until vesin has looked
    try:
        from vesin import NeighborList
    finally:
        del sys.modules["torch"]
    return NeighborList


def near_pairs(atoms: Atoms, ratio: float) -> Pairs:
    """All pairs of atoms no farther from each other than `ratio` times the sum of their covalent radii.

    The atoms must be finite. All images of atoms count, those of the atom itself too.
    """
    radii = covalent_radii[atoms.numbers]
    found = neighbours(atoms.positions, atoms.cell.complete().array, atoms.pbc, 2 * ratio * radii.max())
    ratios = found.distances / (radii[found.first] + radii[found.second])
    kept = ratios <= ratio
    return Pairs(found.first[kept], found.second[kept], ratios[kept], found.cells[kept])


def closest_pair(atoms: Atoms) -> tuple[float, tuple[int, int]]:
    """Shortest distance of two different atoms over the sum of covalent radii, and the two; (inf, …) for one atom."""
    if len(atoms) < 2:
        return np.inf, (0, 0)
    ratio = FIRST_GAP
    while not (others := (pairs := near_pairs(atoms, ratio)).first != pairs.second).any():
        ratio *= GAP_GROWTH
    row = int(np.where(others, pairs.ratios, np.inf).argmin())
    return float(pairs.ratios[row]), (int(pairs.first[row]), int(pairs.second[row]))


def connected(pairs: Pairs, atoms: int) -> bool:
    """Whether the pairs join all atoms."""
    graph = coo_matrix((np.ones(len(pairs.first)), pairs[:2]), shape=(atoms, atoms))
    return bool(connected_components(graph, directed=False)[0] == 1)


def widest_gap(atoms: Atoms) -> float:
    """The widest gap that must be bridged to hold all atoms together, over the sum of covalent radii.

    It grows when layers or fragments part. The longest edge of the minimum spanning tree, found among neighbours as
    soon as these hang together, without the distances of all atoms from all others.
    """
    if len(atoms) < 2:
        return 1.0
    ratio = FIRST_GAP
    while not connected(pairs := near_pairs(atoms, ratio), len(atoms)):
        ratio *= GAP_GROWTH
    order = np.argsort(pairs.ratios, kind="stable")
    _, nearest = np.unique(pairs.first[order] * len(atoms) + pairs.second[order], return_index=True)
    rows = order[nearest]
    graph = coo_matrix((pairs.ratios[rows], (pairs.first[rows], pairs.second[rows])), shape=(len(atoms), len(atoms)))
    return float(minimum_spanning_tree(graph).data.max(initial=0.0))  # atoms at one place have no edge
