"""Atoms that run into each other along a path: found before anybody computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from mlff_probes.methods.neighbours import closest_pair, near_pairs

COLLIDES = 0.7
"""A pair collides that is nearer than this times the sum of covalent radii, or this times the nearest pair at the start
of the path (over its own radii). Bonds are at 0.9 to 1.15."""

GROWTH = 1.3
"""By how much the search for a nearest pair is widened at a time."""


class Contact(NamedTuple):
    """A pair of atoms, their distance in A and over the sum of their covalent radii."""

    first: int
    second: int
    distance: float
    ratio: float


def collision(frames: Sequence[Atoms]) -> tuple[int, Contact] | None:
    """The frame with the worst collision of a path, and the pair; None where all atoms keep their distance."""
    found = [_closest(frame) for frame in frames]
    limit = COLLIDES * max(1.0, found[0].ratio)
    worst = min(range(len(found)), key=lambda index: found[index].ratio)
    return (worst, found[worst]) if found[worst].ratio < limit else None


def contact_across(frame: Atoms, third: int = 2) -> Contact:
    """The nearest pair of an atom of a cell and one of its image along a3: what meets across the sliding interface."""
    ratio = 1.0
    while True:
        pairs = near_pairs(frame, ratio)
        across = np.flatnonzero(pairs.cells[:, third] > 0)
        if len(across):
            row = across[pairs.ratios[across].argmin()]
            return _contact(frame, int(pairs.first[row]), int(pairs.second[row]), float(pairs.ratios[row]))
        ratio *= GROWTH


def nearest_to(frame: Atoms, atom: int) -> Contact:
    """The atom nearest to one, over the sum of covalent radii; the one itself comes first."""
    ratio = 1.0
    while not len(rows := np.flatnonzero((pairs := near_pairs(frame, ratio)).first == atom)):
        ratio *= GROWTH
    row = rows[pairs.ratios[rows].argmin()]
    return _contact(frame, atom, int(pairs.second[row]), float(pairs.ratios[row]))


def _closest(frame: Atoms) -> Contact:
    ratio, (first, second) = closest_pair(frame)
    return _contact(frame, first, second, ratio)


def _contact(frame: Atoms, first: int, second: int, ratio: float) -> Contact:
    return Contact(first, second, ratio * float(covalent_radii[frame.numbers[[first, second]]].sum()), ratio)
