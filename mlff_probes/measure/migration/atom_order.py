"""The identity of atoms along a path: are the images numbered alike, and which atom is it that hops?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import find_mic
from numpy.typing import NDArray

from mlff_probes.core.structures import renumbered
from mlff_probes.methods.bands.steps import DRIFT_A, rigid_drift, step_between, ways

if TYPE_CHECKING:
    from ase import Atoms

Order = NDArray[np.int64]

STAYS_A = 0.35
"""Half the length of the shortest bond there is (H2): an atom that moves by less from image to image has changed places
with no other."""

SHORTER_A2 = 0.5
"""By how much renumbering must make the sum of the squared displacements smaller, A^2: two atoms of a bond of 0.7 A
that change places save more, and a tie of two equally long ways saves nothing."""

STANDS_STILL, AS_FAR_A = 0.1, 0.01
"""An atom that moves by less than this part of the longest way does not hop; ways that differ by less, A, are alike."""

SHOWN = 4
"""How many atoms of a mapping a message names."""


def order_beside(start: Atoms, end: Atoms) -> Order:
    """For each atom of `start`, which atom of `end` it is: of the same element, and nearest all together.

    The assignment within each element that makes the sum of the squared minimum-image displacements smallest, which is
    the squared length of the path in all coordinates. Atoms of images that are numbered by elements alike are left
    where they are unless they move by more than `STAYS_A` and the path becomes shorter.

    Parameters
    ----------
    start, end
        The same composition in the same cell.
    """
    order: Order = np.arange(len(start))
    alike = bool((start.numbers == end.numbers).all())
    moving = np.ones(len(start), dtype=bool)
    if alike:
        step = step_between(start, end)
        moving = np.linalg.norm(step, axis=1) > STAYS_A
    drift = rigid_drift(start, end) if alike else np.zeros(3)
    for element in np.unique(start.numbers[moving]):
        here, there = (np.flatnonzero((frame.numbers == element) & moving) for frame in (start, end))
        order[here] = there[_assigned(start, here, end, there, drift)]
    if alike:
        renewed = step_between(start, end[order]) if (order != np.arange(len(start))).any() else step
        if (step**2).sum() - (renewed**2).sum() < SHORTER_A2:
            return np.arange(len(start))
    return order


def _assigned(start: Atoms, here: Order, end: Atoms, there: Order, drift: NDArray[np.float64]) -> Order:
    """The places in `there` of the atoms `here`, nearest all together."""
    from scipy.optimize import linear_sum_assignment  # most paths need none

    between = end.positions[there][None] - start.positions[here][:, None] - drift
    lengths = find_mic(between.reshape(-1, 3), start.cell, start.pbc)[1].reshape(len(here), len(there))
    found: Order = linear_sum_assignment(lengths**2)[1]
    return found


def numbered_alike(frames: Sequence[Atoms]) -> tuple[list[Atoms], tuple[str, ...]]:
    """The frames with their atoms numbered as in the first, and a note on what was mapped.

    Frames that have other elements or another number of atoms than the first are returned as they are.
    """
    found = [frames[0]]
    changed = ""
    for index, frame in enumerate(frames[1:], 1):
        if sorted(frame.numbers) != sorted(frames[0].numbers):
            return list(frames), ()
        order = order_beside(found[-1], frame)
        if (order != np.arange(len(order))).any() and not changed:
            changed = f"Atoms were renumbered as in image 0 from image {index} on: {mapping(order)}."
        found.append(renumbered(frame, order) if (order != np.arange(len(order))).any() else frame)
    return found, (changed,) if changed else ()


def exchange_problem(frames: Sequence[Atoms]) -> str | None:
    """Why the images seem to be numbered differently, or None; they have the same elements in the same order."""
    for index, (start, end) in enumerate(pairwise(frames), 1):
        order = order_beside(start, end)
        if (order != np.arange(len(order))).any():
            return (
                f"from image {index} on atoms seem to be numbered in another order: {mapping(order)}; number them "
                "alike, or state reorder_atoms = true to have them mapped (false where they do change places; "
                "--reorder-atoms where they are imported)"
            )
    return None


def migrating_atom_problem(frames: Sequence[Atoms], migrating_atom: int) -> str | None:
    """Why this is not the atom that migrates, or None."""
    way = ways(frames)
    farthest = int(way.argmax())
    if way[farthest] < DRIFT_A:
        return "no atom moves from image to image, but for a shift of all"
    if way[migrating_atom] >= STANDS_STILL * way[farthest] or way[farthest] < STAYS_A:
        return None
    return (
        f"migrating_atom = {migrating_atom} ({frames[0].symbols[migrating_atom]}) moves by {way[migrating_atom]:.2f} A "
        f"only, but atom {farthest} ({frames[0].symbols[farthest]}) by {way[farthest]:.2f} A; is {farthest} meant?"
    )


def migrating_atom_note(frames: Sequence[Atoms], migrating_atom: int) -> tuple[str, ...]:
    """What a reader must know of the atom that is called the migrating one: another moves farther."""
    way = ways(frames)
    farthest = int(way.argmax())
    if way[migrating_atom] > way[farthest] - AS_FAR_A:
        return ()
    named = frames[0].symbols
    return (
        f"The migrating atom {migrating_atom} ({named[migrating_atom]}) moves by {way[migrating_atom]:.2f} A, but "
        f"atom {farthest} ({named[farthest]}) by {way[farthest]:.2f} A.",
    )


def mapping(order: Order) -> str:
    """The atoms that `order` moves, in words: ``5 -> 3``."""
    moved = np.flatnonzero(order != np.arange(len(order)))
    shown = ", ".join(f"{order[atom]} -> {atom}" for atom in moved[:SHOWN])
    return shown + (f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else "")
