"""In which order images stand along a path: as their names say, or else by which are nearest to each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.core.errors import InputError
from mlff_probes.measure.migration.atom_order import order_beside
from mlff_probes.methods.bands.steps import DRIFT_A, step_between

Floats = NDArray[np.float64]

LONGER = 1.25
"""Images are in a wrong order if the path through them is longer by this factor than through another one."""

FIRST = re.compile(r"(?i)(^|[^a-z])(is|initial|start|reactants?|first|begin)([^a-z]|$)")
LAST = re.compile(r"(?i)(^|[^a-z])(fs|final|end|products?|last)([^a-z]|$)")
"""What people call the ends of a path."""


def by_name(entries: list[Path], where: Path) -> list[Path] | None:
    """Entries whose names differ in one whole number, in its order; None where the names say no order.

    Raises
    ------
    InputError
        If a number is missing.
    """
    if len(entries) < 2:
        return entries
    split = [re.split(r"(\d+)", entry.name) for entry in entries]
    alike = len({len(parts) for parts in split}) == 1
    differing = [place for place in range(len(split[0])) if len({parts[place] for parts in split}) > 1] if alike else []
    if len(differing) != 1 or not differing[0] % 2:  # odd places hold the numbers
        return None
    numbers = [int(parts[differing[0]]) for parts in split]
    absent = sorted(set(range(min(numbers), max(numbers))) - set(numbers))
    if len(absent) >= len(entries) or len(set(numbers)) < len(numbers):  # decimals, or numbers of something else
        return None
    if absent:
        names = ", ".join(entry.name for entry in sorted(entries)[:4]) + (", …" if len(entries) > 4 else "")
        raise InputError(
            where,
            f"image {absent[0]} is missing between the others ({names})",
            "a path is compared image by image: bring it back, or number those that are there without a gap",
        )
    return [entry for _, entry in sorted(zip(numbers, entries, strict=True))]


def by_geometry(frames: Sequence[Atoms], names: Sequence[str]) -> list[int]:
    """The order in which the path through all images is shortest, each followed by the nearest that is left.

    Every image is tried as the first one. The path begins at the end whose name says so (``initial``, ``IS``), or else
    comes first in the alphabet.

    Parameters
    ----------
    frames
        The same atoms in the same order and the same cell.
    names
        What the images are called.
    """
    far = distances(frames)
    chain = min((_chain(far, start) for start in range(len(frames))), key=lambda order: path_length(far, order))
    begin, end = names[chain[0]], names[chain[-1]]
    named = bool(FIRST.search(end) or LAST.search(begin)), bool(FIRST.search(begin) or LAST.search(end))
    backwards = named[0] if any(named) else end < begin
    return chain[::-1] if backwards else chain


def distances(frames: Sequence[Atoms]) -> Floats:
    """How far any two images are apart, A: the norm of the displacements of all atoms, but for a drift, (n, n).

    Atoms that are numbered in another order count as where they are.
    """
    far = np.zeros((len(frames), len(frames)))
    for one in range(len(frames)):
        for two in range(one):
            start, end = frames[two], frames[one]
            far[one, two] = far[two, one] = np.linalg.norm(step_between(start, end[order_beside(start, end)]))
    return far


def path_length(far: Floats, order: Sequence[int]) -> float:
    """Length of the path through images in some order, A."""
    return float(sum(far[one, two] for one, two in pairwise(order)))


def order_problem(frames: Sequence[Atoms], names: Sequence[str]) -> str:
    """Why the images seem to stand in another order than along the path; empty if they do not."""
    far = distances(frames)
    given = list(range(len(frames)))
    chain = _chain(far, 0)
    if (far + np.eye(len(far))).min() < DRIFT_A:  # one structure twice, which whoever makes a path of them will say
        return ""
    if path_length(far, given) <= LONGER * path_length(far, chain):
        return ""
    shown = ", ".join(names[index] for index in chain)
    return (
        f"the images seem to be in another order: the path is {path_length(far, given):.2f} A long as they are, but "
        f"{path_length(far, chain):.2f} A as {shown}"
    )


def _chain(far: Floats, start: int) -> list[int]:
    """The images from `start` on, each followed by the nearest that is left."""
    chain, left = [start], set(range(len(far))) - {start}
    while left:
        chain.append(min(left, key=lambda image: far[chain[-1], image]))
        left.remove(chain[-1])
    return chain
