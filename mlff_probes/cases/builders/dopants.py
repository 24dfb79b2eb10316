"""A foreign atom beside the sliding interface, or in the gap: where it stands, and how it moves with the layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atom, Atoms
from ase.data import atomic_numbers
from scipy.optimize import minimize

from mlff_probes.cases.builders.collisions import nearest_to
from mlff_probes.cases.builders.crystals import Floats, formula
from mlff_probes.cases.builders.layers import Layered
from mlff_probes.cases.builders.registries import CONTACT
from mlff_probes.cases.builders.sites import voids
from mlff_probes.core.errors import InputError
from mlff_probes.core.structures import derived
from mlff_probes.methods.neighbours import near_pairs

GAP = "gap"
"""The site of a dopant that replaces nothing."""

ROOMY = 0.9
"""A dopant in the gap goes half-way as long as it comes no nearer to any atom than this times the sum of radii."""

WANDERS_A = 0.4
"""How far it moves aside at each registry at most, A: less than from hollow to hollow."""

DOWN_A = np.array([0.0, 0.0, -0.05])
"""Towards which layer, A: half-way between layers that are inverted images of each other all forces on it cancel."""

LEVEL_A = 0.2
"""Atoms whose heights differ by less, A, are equally near the interface."""


@dataclass(frozen=True)
class Dopant:
    """What is put in: the element, and the element that it replaces, or `GAP`."""

    element: str
    site: str

    @classmethod
    def parsed(cls, text: str) -> Dopant:
        """As a user writes it: ``Cr@Sb``, ``Cr@gap``.

        Raises
        ------
        InputError
            If it is not that, or there is no such element.
        """
        if not (found := re.fullmatch(r"(\w+)@(\w+)", text)):
            raise InputError(f"--dopant={text}", "must be ELEMENT@SITE", "for instance Cr@Sb or Cr@gap")
        for name in found.groups():
            if name != GAP and name not in atomic_numbers:
                raise InputError(f"--dopant={text}", f"there is no element '{name}'")
        return cls(*found.groups())

    @property
    def in_words(self) -> str:
        """As a part of a name: ``cr_on_sb``, ``cr_in_gap``."""
        return f"{self.element}_{'in' if self.site == GAP else 'on'}_{self.site}".lower()


@dataclass(frozen=True)
class Doped:
    """The supercell with one foreign atom, at u = 0 and the gap of the crystal.

    Attributes
    ----------
    cell
        The layers as in `Layered.cell`, the dopant last where it stands in the gap.
    supercell
        How many cells of the crystal it holds along a1 and a2.
    atom
        Index of the dopant.
    """

    dopant: Dopant
    cell: Atoms
    supercell: tuple[int, int]
    atom: int

    @property
    def follows(self) -> bool:
        """Whether the dopant goes half-way with the layer that slides, since it belongs to neither."""
        return self.dopant.site == GAP

    def moved(self, frames: Sequence[Atoms], shifts: Floats) -> list[Atoms]:
        """The frames with the dopant where it goes when the layer above it moves, step by step.

        Each step takes it half as far as that layer, and, where there is little room (`ROOMY`), from there to the
        roomiest place: half-way alone leads past hollows of both layers onto edges of them.

        Parameters
        ----------
        frames
            With the dopant where it stands at u = 0.
        shifts
            By which the layer above has moved, A, shape (n_frames, 3).
        """
        place, before, found = self.cell.positions[self.atom], np.zeros(3), []
        for frame, shift in zip(frames, shifts, strict=True):
            place, before = place + (shift - before) / 2, shift
            if nearest_to(_with(frame, self.atom, place), self.atom).ratio < ROOMY:
                place = _roomiest(frame, self.atom, place + DOWN_A)
            found.append(_with(frame, self.atom, place))
        return found


def _with(frame: Atoms, atom: int, place: Floats) -> Atoms:
    positions = frame.positions.copy()
    positions[atom] = place
    return derived(frame, positions=positions)


def _roomiest(frame: Atoms, atom: int, place: Floats) -> Floats:
    """The place near `place`, A, shape (3,), where the sum of (R/r)^12 over the atoms around one is least."""

    def crowding(there: Floats) -> float:
        pairs = near_pairs(_with(frame, atom, there), CONTACT)
        return float((pairs.ratios[pairs.first == atom] ** -12.0).sum())

    bounds = [(part - WANDERS_A, part + WANDERS_A) for part in place]
    roomiest: Floats = minimize(crowding, place, method="L-BFGS-B", bounds=bounds).x
    return roomiest


def doped(crystal: Layered, dopant: Dopant, supercell: tuple[int, int], where: Path) -> Doped:
    """Put one dopant into a supercell of a layered crystal.

    On a site: that of the replaced element which is nearest the interface, on its lower side. In the gap: the roomiest
    of its voids (`voids`).

    Raises
    ------
    InputError
        If there is no such site, or no room in the gap.
    """
    host = derived(crystal.cell, repeat=(*supercell, 1))
    if dopant.site == GAP:
        place = _in_gap(crystal, dopant, where)
        host.append(Atom(dopant.element, place))
        return Doped(dopant, host, supercell, len(host) - 1)
    sites = np.flatnonzero(host.symbols == dopant.site)
    if not len(sites):
        there = ", ".join(sorted(set(host.symbols)))
        raise InputError(where, f"holds no {dopant.site} for {dopant.element} to replace, only {there}")
    heights = host.positions[sites, 2]
    atom = int(sites[np.flatnonzero(heights > heights.max() - LEVEL_A)[0]])
    host.symbols[atom] = dopant.element
    return Doped(dopant, host, supercell, atom)


def _in_gap(crystal: Layered, dopant: Dopant, where: Path) -> Floats:
    """The roomiest place of the gap, A, shape (3,)."""
    cell = crystal.cell
    top = cell.positions[:, 2].max()
    places = voids(cell, dopant.element) @ cell.cell.array
    places -= np.floor((places[:, 2:] - top) / cell.cell[2, 2]) * cell.cell.array[2]
    inside: Floats = places[places[:, 2] < top + crystal.gap]
    if len(inside):
        roomiest: Floats = inside[0]
        return roomiest
    raise InputError(
        where, f"the gap of {formula(cell)}, {crystal.gap:.2f} A wide, has no room for {dopant.element}",
        "a smaller atom, or a crystal with a wider gap",
    )  # fmt: skip
