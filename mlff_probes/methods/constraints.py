"""Atoms that are held: in which directions those of a structure may move, exactly as ASE's constraints say.

A constraint that is honoured holds single atoms and is linear: it is a projector, 3 x 3, on the directions in which an
atom is free. That of one frame serves its whole path, since the images of a path share cell and constraints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_probes.core.structures import derived

if TYPE_CHECKING:
    from ase import Atoms

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

HONOURED = ("FixAtoms", "FixCartesian", "FixScaled", "FixedPlane", "FixedLine")
"""Constraints of single atoms. All others join atoms (FixBondLengths) or add forces (Hookean)."""

ZEROED = "zeroed by a constraint"
"""Why a force component is no label, as a reader sees it."""

SAME_PROJECTOR = 1e-6
"""Two projectors that differ by less hold the same directions."""


ROUNDED, WRITTEN = 1e-10, 1e-4
"""A component is zero, and a force has no part along a direction, up to this part of the force: as it was computed, and
as files with few digits have it."""


@dataclass(frozen=True)
class Freedom:
    """The directions in which each atom may move.

    Attributes
    ----------
    projectors
        On the free directions of each atom, orthogonal, shape (n_atoms, 3, 3); None where nothing is held.
    """

    projectors: Floats | None = None

    @classmethod
    def of(cls, atoms: Atoms) -> Freedom:
        """What the constraints of `atoms` leave free, as their `adjust_positions` have it.

        In the directions that ASE leaves free, forces are ASE's as well. Only where `FixScaled` holds directions that
        are not perpendicular to the others does ASE's force have a part across the free directions, which moves
        nothing; that part is left out. Constraints that are not `HONOURED` hold no atom.
        """
        origin = derived(atoms, positions=np.zeros((len(atoms), 3)))  # so that no step is lost to rounding
        return cls(_projected(atoms, lambda constraint, move: constraint.adjust_positions(origin, move)))

    @classmethod
    def of_forces(cls, atoms: Atoms) -> Freedom:
        """The directions that the constraints of `atoms` leave to a force, as their `adjust_forces` have it."""
        return cls(_projected(atoms, lambda constraint, force: constraint.adjust_forces(atoms, force)))

    def part(self, vectors: Floats) -> Floats:
        """The free part of forces or displacements, shape (..., n_atoms, 3) or (..., 3 n_atoms)."""
        if self.projectors is None:
            return vectors
        each = vectors.reshape(-1, len(self.projectors), 3)
        free: Floats = np.einsum("nij,knj->kni", self.projectors, each).reshape(vectors.shape)
        return free

    def of_moving_atoms(self) -> Freedom:
        """The same directions for atoms that move at all, and all three for those that do not.

        Forces on atoms that never move belong to the interaction with those that do, and teach it.
        """
        if self.projectors is None:
            return self
        never = np.abs(self.projectors).max(axis=(1, 2)) < SAME_PROJECTOR
        return Freedom(np.where(never[:, None, None], np.eye(3), self.projectors))

    def directions(self, n_atoms: int) -> int:
        """In how many directions the atoms may move, all together."""
        return 3 * n_atoms if self.projectors is None else round(float(np.trace(self.projectors.sum(axis=0))))

    def held(self, n_atoms: int) -> Mask:
        """The Cartesian components in which no atom may move, shape (n_atoms, 3)."""
        if self.projectors is None:
            return np.zeros((n_atoms, 3), dtype=bool)
        found: Mask = np.abs(self.projectors).max(axis=2) < SAME_PROJECTOR
        return found

    def partly(self, n_atoms: int) -> Mask:
        """The components that a held direction has a part in, but not alone, shape (n_atoms, 3)."""
        if self.projectors is None:
            return np.zeros((n_atoms, 3), dtype=bool)
        touched: Mask = np.abs(self.projectors - np.eye(3)).max(axis=2) > SAME_PROJECTOR
        return touched & ~self.held(n_atoms)


def _projected(atoms: Atoms, adjust: Callable[[Any, Floats], None]) -> Floats | None:
    """Projectors on what the constraints leave of the vectors that `adjust` is given; None without constraints."""
    constraints = [each for each in atoms.constraints if type(each).__name__ in HONOURED]
    if not constraints:
        return None
    left = np.tile(np.eye(3)[:, None], (1, len(atoms), 1))
    for vectors in left:
        for constraint in constraints:
            adjust(constraint, vectors)
    along = left.transpose(1, 2, 0)
    projectors: Floats = (along @ np.linalg.pinv(along)).round(12)
    return projectors


def constraint_problem(frames: Sequence[Atoms]) -> str | None:
    """Why the constraints of the frames of one path cannot be honoured, or None."""
    for index, frame in enumerate(frames):
        for name in (type(constraint).__name__ for constraint in frame.constraints):
            if name not in HONOURED:
                return (
                    f"frame {index} has a constraint {name}; only those that hold single atoms are honoured "
                    f"({', '.join(HONOURED)}), so remove it or write it as one of these"
                )
    if not any(frame.constraints for frame in frames):
        return None
    first, *others = (_projectors(frame) for frame in frames)
    for index, other in enumerate(others, 1):
        if other.shape != first.shape:
            return None  # another number of atoms, which is said elsewhere
        differing = np.abs(other - first).max(axis=(1, 2)) > SAME_PROJECTOR
        if differing.any():
            return (
                f"frame {index} does not hold atom {int(differing.argmax())} as frame 0 does; give all frames of a "
                "path the same constraints"
            )
    return None


def unlabelled(frame: Atoms, forces: Floats) -> Mask:
    """Components of stored `forces` (eV/A) that are no labels, shape (n_atoms, 3).

    They are zero in a direction in which a constraint holds the atom: many codes and scripts write zero there instead
    of the force. Where that direction is along no axis, all components that it has a part in lack something. A force
    under a constraint that has a part along that direction is a label like any other.
    """
    if not frame.constraints:
        return np.zeros((len(frame), 3), dtype=bool)
    length = np.linalg.norm(forces, axis=1)[:, None]
    freedom = Freedom.of(frame)
    found: Mask = freedom.held(len(frame)) & (np.abs(forces) <= ROUNDED * length)
    for left in (freedom, Freedom.of_forces(frame)):
        beside = np.linalg.norm(forces - left.part(forces), axis=1)[:, None]
        found |= left.partly(len(frame)) & (beside <= WRITTEN * length)
    return found


def labels_alone(frame: Atoms, forces: Floats) -> Floats:
    """A copy of stored `forces` (eV/A, shape (n_atoms, 3)) with NaN in the components that are `unlabelled`."""
    return np.where(unlabelled(frame, forces), np.nan, forces)


def _projectors(frame: Atoms) -> Floats:
    found = Freedom.of(frame).projectors
    return np.tile(np.eye(3), (len(frame), 1, 1)) if found is None else found
