"""What makes the frames of a path unusable, said before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import find_mic

from mlff_probes.core.protocol import GEOMETRY_A, REGISTRY_DECIMALS, order_problem, state_problem
from mlff_probes.measure.migration.atom_order import exchange_problem, migrating_atom_problem
from mlff_probes.methods.constraints import Freedom, constraint_problem

if TYPE_CHECKING:
    from ase import Atoms

HALF_CELL, WRAPPED = 0.45, 0.25
"""An atom that moves by more than the first fraction of a cell vector may go either way round; one that was wrapped
back into the cell in between, and is otherwise within the second, goes the short way."""


@dataclass(frozen=True)
class PathProblem:
    """Why frames do not form a path.

    Attributes
    ----------
    reason
        In words.
    repeated_image
        Whether it is that one structure stands among the images twice.
    """

    reason: str
    repeated_image: bool = False


def path_problem(frames: Sequence[Atoms], migrating_atom: int, reorder_atoms: bool | None = None) -> PathProblem | None:
    """Why the frames do not form a path, or None; `reorder_atoms` False: atoms may change places between images."""
    if reason := _unfit_images(frames, migrating_atom):
        return PathProblem(reason)
    if reason := _repeated_image(frames):
        return PathProblem(reason, repeated_image=True)
    if reason := order_problem(frames):
        return PathProblem(f"{reason}; number the atoms alike, or state reorder_atoms = true to have them mapped")
    if reason := state_problem(frames):
        return PathProblem(reason)
    if reason := (None if reorder_atoms is False else exchange_problem(frames)) or constraint_problem(frames):
        return PathProblem(reason)
    reason = migrating_atom_problem(frames, migrating_atom)
    return PathProblem(reason) if reason else None


def held_atoms_problem(frames: Sequence[Atoms], migrating_atom: int) -> str | None:
    """Why the frames cannot be joined by bands although constraints hold some of their atoms, or None."""
    freedom = Freedom.of(frames[0])
    if freedom.held(len(frames[0]))[migrating_atom].all():
        return f"a constraint holds the migrating atom {migrating_atom} in all directions, so that it cannot hop"
    for index, (start, end) in enumerate(pairwise(frames)):
        step = find_mic(end.positions - start.positions, start.cell, start.pbc)[0]
        off = np.linalg.norm(step - freedom.part(step), axis=1)
        if off.max() > GEOMETRY_A:
            atom = int(off.argmax())
            return (
                f"atom {atom} is held by a constraint, but lies {off[atom]:.4f} A apart in frames {index} and "
                f"{index + 1}; give it one place in all frames, or set it free"
            )
    return None


def _unfit_images(frames: Sequence[Atoms], migrating_atom: int) -> str | None:
    """What is wrong with the number, the numbering or the cells of the images, or None."""
    if len(frames) < 2:
        return f"a path needs at least 2 images, found {len(frames)}"
    if migrating_atom >= len(frames[0]):
        count = len(frames[0])
        return f"migrating_atom = {migrating_atom}, but a frame has {count} atoms, counted from 0 to {count - 1}"
    images = [float(frame.info["image"]) for frame in frames]
    if images != list(range(len(frames))):
        return f"'image' must number the frames 0, 1, 2, …, found {images}"
    off = [float(np.abs(frame.cell.array - frames[0].cell.array).max()) for frame in frames]
    if max(off) > GEOMETRY_A:
        index = next(index for index, far in enumerate(off) if far > GEOMETRY_A)
        return f"all images of a path must have the same cell; that of image {index} is off by up to {off[index]:.4f} A"
    if any((frame.pbc != frames[0].pbc).any() for frame in frames):
        return "all images of a path must be periodic in the same directions"
    return None


def far_hop(frames: Sequence[Atoms]) -> str | None:
    """Why it is not clear which way an atom goes from frame to frame, or None.

    Consecutive frames are joined by the shortest way in the periodic cell. That is the way meant where an atom was
    wrapped back into the cell, but not where it hops half a cell or more.
    """
    for index, (start, end) in enumerate(pairwise(frames)):
        written = np.linalg.solve(start.cell.complete().array.T, (end.positions - start.positions).T).T
        short = np.abs(written - written.round())
        unclear = start.pbc & ((short > HALF_CELL) | ((np.abs(written) > HALF_CELL) & (short > WRAPPED)))
        if unclear.any():
            atom, axis = np.argwhere(unclear)[0]
            return (
                f"atom {atom} moves by {abs(written[atom, axis]):.2f} of cell vector {axis + 1} from image {index} to "
                f"{index + 1}, so that the way it goes is not clear; add a frame between them, take a larger cell, or "
                "write positions that are not wrapped"
            )
    return None


def _repeated_image(frames: Sequence[Atoms]) -> str | None:
    """Why a path passes one place twice, or None."""
    first: dict[bytes, int] = {}
    for index, frame in enumerate(frames):
        same = first.setdefault((frame.positions.round(REGISTRY_DECIMALS) + 0.0).tobytes(), index)
        if same != index:
            return f"images {same} and {index} are the same structure; a path passes each place once"
    return None
