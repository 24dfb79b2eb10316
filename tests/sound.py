"""A force field without a fault: pairs in a Morse potential, analytic, in float64, with exact forces and stress.

It is no model of a material. Every law holds: the energy is a smooth function of the vectors between atoms alone
and falls to zero at the cutoff together with its first two derivatives, all pairs repel at short distance, and
nothing is kept between calls. `faults.py` breaks it in one place at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from ase.data import atomic_numbers
from fake_gpu import FakeGpu

from mlff_probes.calculators.base import Features
from mlff_probes.calculators.device import Device
from mlff_probes.measure.dynamics.protocols import MolecularDynamics

CUTOFF_A = 6.5
"""Far enough to tell the stacking fault from the crystal, by Te and Sb on either side of the gap."""

RADIUS_A = {"Al": 2.00, "Cr": 1.40, "Cu": 1.30, "Sb": 1.75, "Te": 2.05}
DEPTH_EV = {"Al": 0.20, "Cr": 0.30, "Cu": 0.35, "Sb": 0.15, "Te": 0.15}
STIFFNESS_PER_A = 1.5
SAME_PLACE_A2 = 1e-10
"""Squares of distances below which an atom is met by itself, to the rounding of a difference of large squares."""

LAUNCH_S = 1e-3
"""What a call takes on a GPU."""

BONDS = {
    ("Al", "Cu"): (0.50, 2.55, 1.7),
    ("Cr", "Te"): (0.60, 2.75, 1.7),
    ("Sb", "Te"): (0.80, 3.05, 1.7),
}
"""Pairs that are no mean of their elements: depth in eV, distance of the minimum in A, stiffness in 1/A."""

ELEMENTS = tuple(RADIUS_A)
KINDS = 119
"""Atomic numbers, 0 among them."""


class Pairs(NamedTuple):
    """All pairs among `atoms` atoms within the cutoff, each from both ends, with the way from `first` to `second`."""

    atoms: int
    first: np.ndarray
    second: np.ndarray
    z_first: np.ndarray
    z_second: np.ndarray
    ways: np.ndarray
    distances: np.ndarray


SHELLS_A = np.array([2.5, 3.2, 3.9, 4.6])
SHELL_WIDTH_A = 0.7
"""Distances in which the neighbours of each element are counted, for the features of an atom."""


class Lattice(NamedTuple):
    """A cell, its inverse, the way to each of its images that counts, twice these, their squares, and the volume."""

    cell: np.ndarray
    inverse: np.ndarray
    images: np.ndarray
    doubled: np.ndarray
    squared: np.ndarray
    volume: float


class Sound(AseCalculator):
    """Pairs in Morse wells, tapered to zero at the cutoff; every method is a place for one fault."""

    implemented_properties = ("energy", "forces", "stress")
    cutoff = CUTOFF_A
    gpu: FakeGpu | None = None
    launch_s = LAUNCH_S
    known: tuple = (None, ())

    def __init__(self, dtype: str = "float64") -> None:
        super().__init__()
        self.dtype = np.dtype(dtype)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = self.evaluated(self.atoms)
        self.launch()

    def batch(self, frames: Sequence[Atoms], forces: bool) -> list[tuple[float, np.ndarray | None]]:
        """Energy and, if wanted, forces of each frame."""
        found = [self.evaluated(frame) for frame in frames]
        self.launch()
        return [(results["energy"], results["forces"] if forces else None) for results in found]

    def features(self, frames: Sequence[Atoms]) -> list[Features]:
        """What describes the atoms of each frame: neighbours of each element in soft shells, whatever else is wrong."""
        return [Features({"shells": self.described(frame)}) for frame in frames]

    @staticmethod
    def described(atoms: Atoms) -> np.ndarray:
        """The features of the atoms of a frame, shape (n_atoms, n_elements * n_shells)."""
        pairs = Sound().pairs(atoms)
        weights = np.exp(-(((pairs.distances[:, None] - SHELLS_A) / SHELL_WIDTH_A) ** 2))
        weights *= tapered(1.0, 0.0, pairs.distances, CUTOFF_A)[0][:, None]
        kinds = [pairs.z_second == atomic_numbers[symbol] for symbol in ELEMENTS]
        return np.hstack([summed(weights * kind[:, None], pairs.first, pairs.atoms) for kind in kinds])

    def launch(self) -> None:
        """Queue the work of a call, where there is a GPU; last, so that a slow host finds it at work."""
        if self.gpu is not None:
            self.gpu.launch(self.launch_s)

    def evaluated(self, atoms: Atoms) -> dict[str, float | np.ndarray]:
        """Energy (eV), forces (eV/A) and, in a cell, stress (eV/A^3, Voigt order) of `atoms`.

        Answers are remembered: most faults lie elsewhere, and all are asked for the same structures.
        """
        if any(getattr(type(self), name) is not getattr(Sound, name) for name in PARTS):
            return self.worked_out(atoms)
        asked = (
            self.dtype.char,
            *(part.tobytes() for part in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)),
        )
        results = ANSWERED.get(asked)
        if results is None:
            results = ANSWERED[asked] = self.worked_out(atoms)
        return {name: np.array(value) if name != "energy" else value for name, value in results.items()}

    def worked_out(self, atoms: Atoms) -> dict[str, float | np.ndarray]:
        """The same, from all pairs."""
        pairs = self.pairs(atoms)
        energy, gradient = self.energy(pairs)
        forces = summed(gradient, pairs.first, len(atoms)) - summed(gradient, pairs.second, len(atoms))
        results = {"energy": float(energy), "forces": forces.astype(self.dtype)}
        if atoms.cell.rank == 3:
            virial = pairs.ways.T @ gradient / self.lattice(atoms).volume
            results["stress"] = ((virial + virial.T) / 2).ravel()[[0, 4, 8, 5, 2, 1]]
        return results

    def pairs(self, atoms: Atoms) -> Pairs:
        """All pairs of `atoms` within the cutoff, whatever the cell and wherever the atoms lie in it."""
        cell, inverse, images, doubled, squared, _ = self.lattice(atoms)
        between = (atoms.positions[None] - atoms.positions[:, None]).reshape(-1, 3) @ inverse
        between -= between.round() * atoms.pbc
        between = between @ cell
        squares = between @ doubled  # |b + s|^2 = 2 b s + b^2 + s^2: far faster than all sums b + s
        squares += np.einsum("ij,ij->i", between, between)[:, None]
        squares += squared
        inside = squares < self.cutoff**2
        inside &= squares > SAME_PLACE_A2
        pair, shift = np.divmod(np.flatnonzero(inside), len(images))
        first, second = np.divmod(pair, len(atoms))
        found = (between.take(pair, axis=0) + images.take(shift, axis=0)).astype(self.dtype, copy=False)
        distances = np.sqrt(np.einsum("ij,ij->i", found, found))
        z = atoms.numbers
        return Pairs(len(atoms), first, second, z.take(first), z.take(second), found, distances)

    def lattice(self, atoms: Atoms) -> Lattice:
        """What the cell alone decides; of the last cell it is known."""
        key = (atoms.cell.array.tobytes(), atoms.pbc.tobytes(), self.cutoff)
        if self.known[0] != key:
            cell = atoms.cell.complete().array
            images = self.shifts(cell, atoms.pbc) @ cell
            squared = (images**2).sum(axis=1)
            self.known = key, Lattice(cell, np.linalg.inv(cell), images, 2 * images.T, squared, atoms.cell.volume)
        return self.known[1]

    def shifts(self, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
        """All cells in which an atom at most half a cell away may have an image within the cutoff."""
        faces = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)  # distances of opposite faces
        most = np.floor(self.cutoff / faces + 0.5).astype(int) * pbc
        return np.array(list(np.ndindex(*(2 * most + 1)))) - most

    @staticmethod
    def now(device: Device, clock: Callable[[], float]) -> float:
        """How a timer reads its clock."""
        device.synchronize()
        return clock()

    @staticmethod
    def simulated(protocol: MolecularDynamics, start: Atoms) -> tuple[MolecularDynamics, Atoms]:
        """What is really simulated where `protocol` and `start` are asked for."""
        return protocol, start

    def energy(self, pairs: Pairs) -> tuple[float, np.ndarray]:
        """Energy, and its derivative with respect to the way of each pair, shape (n_pairs, 3)."""
        energies, slopes = self.pair_energies(pairs)
        return energies.sum() / 2, (slopes / (2 * pairs.distances))[:, None] * pairs.ways

    def pair_energies(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Energy of each pair and its slope: a Morse well times a taper."""
        return tapered(*self.morse(pairs), pairs.distances, self.cutoff)

    def morse(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Energy of each pair in its well, and its slope."""
        depth, minimum, stiffness = self.wells(pairs)
        decay = np.exp(-stiffness * (pairs.distances - minimum))
        return depth * (decay**2 - 2 * decay), -2 * stiffness * depth * (decay**2 - decay)

    def wells(self, pairs: Pairs) -> np.ndarray:
        """Depth, distance of the minimum and stiffness of each pair, shape (3, n_pairs)."""
        return WELLS.reshape(3, -1).take(pairs.z_first * KINDS + pairs.z_second, axis=1).astype(self.dtype, copy=False)


def summed(values: np.ndarray, ends: np.ndarray, atoms: int) -> np.ndarray:
    """Sum of the `values` of all pairs, shape (n_pairs, ...), over those that end at each atom."""
    flat = values.reshape(len(values), -1)
    columns = flat.shape[1]
    places = (ends[:, None] * columns + np.arange(columns)).ravel()
    return np.bincount(places, flat.ravel(), atoms * columns).reshape(atoms, *values.shape[1:])  # np.add.at is slow


def tapered(energy: np.ndarray, slope: np.ndarray, distances: np.ndarray, cutoff: float):
    """Energy and slope times (1 - (r/r_c)^2)^3, which takes them to zero at the cutoff, and the curvature too."""
    inside = 1 - (distances / cutoff) ** 2
    square = inside * inside
    cube = square * inside
    return energy * cube, slope * cube - energy * square * distances * (6 / cutoff**2)


def _wells() -> np.ndarray:
    table = np.full((3, KINDS, KINDS), np.nan)
    for one in ELEMENTS:
        for other in ELEMENTS:
            mean = (np.sqrt(DEPTH_EV[one] * DEPTH_EV[other]), RADIUS_A[one] + RADIUS_A[other], STIFFNESS_PER_A)
            row = BONDS.get(tuple(sorted((one, other))), mean)
            table[:, atomic_numbers[one], atomic_numbers[other]] = row
    return table


WELLS = _wells()


PARTS = ("worked_out", "pairs", "lattice", "shifts", "cutoff", "energy", "pair_energies", "morse", "wells")
"""What decides about an answer."""

ANSWERED: dict[tuple, dict[str, float | np.ndarray]] = {}


class NoStress(Sound):
    """Computes no stress, though the class lists it."""

    def get_property(self, name, atoms=None, allow_calculation=True):
        if name == "stress":
            raise NotImplementedError("no stress")
        return super().get_property(name, atoms, allow_calculation)
