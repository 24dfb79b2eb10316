"""What has ended a simulation: numbers that are none, atoms that fused or fell apart, heat that runs away."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from mlff_probes.bands.outcomes import CONTACT, SEPARATED

if TYPE_CHECKING:
    from mlff_probes.dynamics.engine import Sample
    from mlff_probes.protocols import MolecularDynamics

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

Kind = Literal["non-finite", "close contact", "fragments separated", "runaway temperature"]

GEOMETRY_STEPS = 10
"""Distances are looked at this many steps apart or more: in some 10 fs no fragment leaves, and atoms that fused stay
so. A look takes 1 ms at 300 atoms, where ten steps of a model take a second. The last steps of the equilibration and
of the whole simulation are looked at in any case: nothing comes after them that would show what they missed."""

RUNAWAY_FACTOR, RUNAWAY_K, RUNAWAY_DEVIATIONS = 3.0, 1000.0, 10.0
"""A temperature has run away that is this many times its target, and this far above it, and above it by this many
standard deviations of the canonical ensemble. The second leaves room for the potential energy of a start that is not
at rest, where the target is low; the third for small cells, whose temperature fluctuates by T sqrt(2 / 3N): with
five atoms it passes three times the target once in some ten thousand samples, and 4.7 times never."""

FIRST_GAP, GAP_GROWTH = 1.5, 1.5
"""Distances over the sum of covalent radii within which neighbours are sought first, and how that grows until all
atoms hang together. Bonds are at 1, van der Waals gaps at 1.3."""


@dataclass(frozen=True)
class End:
    """What ended a simulation, and where: the step counts from the first one of the equilibration, and so does time."""

    kind: Kind
    reason: str
    step: int
    time_fs: float
    replica: int


class Pairs(NamedTuple):
    """Pairs of atoms, images included and each from both ends, and their distances over the sums of covalent radii."""

    first: Indices
    second: Indices
    ratios: Floats


class Watch:
    """Looks at samples of one simulation and says when it has ended.

    Parameters
    ----------
    start
        The structure at the beginning: which gaps are normal is measured there.
    protocol
        Temperature, timestep, how many steps there are, and how often samples are taken.
    """

    def __init__(self, start: Atoms, protocol: MolecularDynamics) -> None:
        self._frame = start.copy()
        self._timestep_fs = protocol.timestep_fs
        self._freedom = 3 * len(start)
        self._gap = widest_gap(start)
        self._highest_k = runaway_temperature(protocol.temperature, self._freedom)
        self._every = -(-GEOMETRY_STEPS // protocol.sample_every) * protocol.sample_every
        self._always = (protocol.equilibration_steps, protocol.equilibration_steps + protocol.steps)

    def sample(self, step: int, sample: Sample) -> End | None:
        """What has ended the simulation in this sample, or None."""
        for replica, temperature in enumerate(sample.temperatures(self._freedom)):
            if not temperature <= self._highest_k:  # nor where it is no number
                reason = f"{temperature:,.0f} K, above {self._highest_k:,.0f} K"
                return self.end("runaway temperature", reason, step, replica)
        if step % self._every and step not in self._always:
            return None
        for replica, (positions, cell) in enumerate(zip(sample.positions, sample.cells, strict=True)):
            self._frame.cell[:] = cell
            self._frame.positions[:] = positions
            if found := self.geometry(step, replica, self._frame):
                return found
        return None

    def geometry(self, step: int, replica: int, atoms: Atoms) -> End | None:
        """What is wrong with the geometry of one replica, or None."""
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            return self.end("non-finite", "positions or cell are not finite", step, replica)
        pairs = near_pairs(atoms, SEPARATED * self._gap)
        if pairs.ratios.size and (ratio := pairs.ratios.min()) < CONTACT:
            row = int(pairs.ratios.argmin())
            pair = sorted((int(pairs.first[row]), int(pairs.second[row])))
            names = " and ".join(f"{atoms.symbols[atom]} {atom}" for atom in pair)
            reason = f"{names} are at {ratio:.2f} of the sum of their covalent radii"
            return self.end("close contact", reason, step, replica)
        if not connected(pairs, len(atoms)):
            reason = f"its widest gap has become {widest_gap(atoms) / self._gap:.1f} times what it was"
            return self.end("fragments separated", reason, step, replica)
        return None

    def end(self, kind: Kind, reason: str, step: int, replica: int) -> End:
        """An end at `step`."""
        return End(kind, reason, step, step * self._timestep_fs, replica)


def runaway_temperature(target: float, degrees_of_freedom: int) -> float:
    """The temperature, K, above which that of a few atoms is no fluctuation any more."""
    deviations = 1 + RUNAWAY_DEVIATIONS * np.sqrt(2 / degrees_of_freedom)
    return float(max(target * RUNAWAY_FACTOR, target * deviations, target + RUNAWAY_K))


def near_pairs(atoms: Atoms, ratio: float) -> Pairs:
    """All pairs of atoms no farther from each other than `ratio` times the sum of their covalent radii.

    The atoms must be finite, and their cell have a volume. All images of atoms count, those of the atom itself too.
    """
    radii = covalent_radii[atoms.numbers]
    cutoff = 2 * ratio * radii.max()
    cell = atoms.cell.array
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

    The same as `mlff_probes.bands.outcomes.widest_gap`, without the distances of all atoms from all others: the
    longest edge of the minimum spanning tree is found among neighbours as soon as these hang together.
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
