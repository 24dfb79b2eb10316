"""A crystal that slides: its period, its registries, its frames."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms

from mlff_probes.cases.builders.crystals import Floats
from mlff_probes.cases.builders.dopants import Doped
from mlff_probes.cases.builders.layers import Layered
from mlff_probes.cases.builders.made import Made
from mlff_probes.cases.builders.registries import Way, atop, equal_registries, shift_symmetry, slid


@dataclass(frozen=True)
class Sliding:
    """A crystal of layers, the way they slide, what was put in, and the cases that were made.

    Attributes
    ----------
    way
        Of the pristine crystal.
    registries
        Of a period.
    """

    crystal: Layered
    way: Way
    registries: int
    doping: Doped | None = None
    cases: tuple[Made, ...] = ()

    @property
    def base(self) -> Atoms:
        """The cell that slides, at u = 0 and the gap of the crystal."""
        return self.doping.cell if self.doping else self.crystal.cell

    @property
    def closes(self) -> bool:
        """Whether slide = 1 is slide = 0 again: a dopant keeps the period of its supercell, not that of the crystal."""
        return self.doping is None

    @cached_property
    def places(self) -> Floats:
        """Registries of a fixed-gap case, u, shape (n,)."""
        n = self.registries
        return np.arange(n + (not self.closes)) / n

    @property
    def vector(self) -> tuple[int | float, int | float]:
        """The period in lattice vectors a1 and a2 of `base`."""
        repeats = self.doping.supercell if self.doping else (1, 1)
        one, two = (part / n if part % n else int(part // n) for part, n in zip(self.way.vector, repeats, strict=True))
        return one, two

    @cached_property
    def period(self) -> Floats:
        """The vector of one period, A, shape (3,)."""
        vector: Floats = np.array(self.way.vector) @ self.crystal.cell.cell.array[:2]
        return vector

    @cached_property
    def equal(self) -> list[int]:
        """For each of `places`, the index of the first that symmetry makes equal to it."""
        if self.doping and self.doping.follows:  # it stands somewhere else at each
            return list(range(len(self.places)))
        way = Way(self.vector, self.way.landmarks, shift_symmetry(self.base))
        return equal_registries(self.base, way, self.places)

    @property
    def equal_groups(self) -> list[list[int]]:
        """Registries that symmetry makes equal, in groups of at least two."""
        groups = [[i for i, first in enumerate(self.equal) if first == each] for each in sorted(set(self.equal))]
        return [group for group in groups if len(group) > 1]

    @property
    def equal_in_words(self) -> str:
        """The registries that symmetry makes equal, as "u = 1/12 and 7/12, 1/6 and 1/2"."""
        return "u = " + ", ".join(" and ".join(map(self.fraction, group)) for group in self.equal_groups)

    def fraction(self, index: int) -> str:
        """A registry as people write it."""
        n = self.registries
        divisor = int(np.gcd(index, n))
        return f"{index // divisor}/{n // divisor}" if index % n else str(index // n)

    def landmark(self, u: float) -> str:
        """What lies atop what in the pristine crystal at a registry, in words."""
        found = atop(slid(self.crystal.cell, u * self.period))
        if not found:
            return "no outermost atoms atop each other"
        return " and ".join(f"{pair} ({n} pairs)" if n > 1 else pair for pair, n in Counter(found).items())

    def frames(self, gap: float, *, follows: bool = True) -> list[Atoms]:
        """The cell at all `places`, at a gap beyond that of the crystal, A.

        A dopant in the gap goes along (`Doped.moved`); unless it `follows`, it stays with the layer below.
        """
        shifts = np.outer(self.places, self.period)
        frames = [slid(self.base, shift, gap_shift=gap) for shift in shifts]
        if self.doping and self.doping.follows and follows:
            frames = self.doping.moved(frames, shifts + np.array([0.0, 0.0, gap]))
        for frame, u in zip(frames, self.places, strict=True):
            frame.info = {"slide": float(u), "gap": round(self.crystal.gap + gap, 6)}
        return frames
