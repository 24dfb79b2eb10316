"""Which atoms are near each other, and whether they hang together: for cells of any shape, and of many atoms."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

FIRST_GAP, GAP_GROWTH = 1.5, 1.5
"""Distances over the sum of covalent radii within which neighbours are sought first, and how that grows until all
atoms hang together. Bonds are at 1, van der Waals gaps at 1.3."""


class Pairs(NamedTuple):
    """Pairs of atoms, images included and each from both ends, and their distances over the sums of covalent radii."""

    first: Indices
    second: Indices
    ratios: Floats


def near_pairs(atoms: Atoms, ratio: float) -> Pairs:
    """All pairs of atoms no farther from each other than `ratio` times the sum of their covalent radii.

    The atoms must be finite. All images of atoms count, those of the atom itself too.
    """
    radii = covalent_radii[atoms.numbers]
    cutoff = 2 * ratio * radii.max()
    cell = atoms.cell.complete().array
    inverse = np.linalg.inv(cell)
    home = atoms.positions @ inverse
    home -= np.floor(home) * atoms.pbc
    reach = cutoff * np.linalg.norm(inverse, axis=0) * atoms.pbc  # over the distances of opposite faces
    most = np.ceil(reach).astype(int)
    shifts = np.array([shift for shift in product(*(range(-n, n + 1) for n in most)) if any(shift)]).reshape(-1, 3)
    images = home + shifts[:, None]
    near = ((images >= -reach) & (images <= 1 + reach) | ~atoms.pbc).all(axis=2)
    shift, of_atom = np.nonzero(near)
    points = np.concatenate([home, images[shift, of_atom]]) @ cell
    atom = np.concatenate([np.arange(len(atoms)), of_atom])
    found = cKDTree(points[: len(atoms)]).sparse_distance_matrix(cKDTree(points), cutoff, output_type="coo_matrix")
    first, second = found.row, atom[found.col]
    ratios = found.data / (radii[first] + radii[second])
    kept = (found.row != found.col) & (ratios <= ratio)
    return Pairs(first[kept], second[kept], ratios[kept])


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
