"""How a band ended: converged, unconverged, or exploded, and then how.

The kinds of explosion are those of Cao & Clancy (arXiv 2509.00090, section 3.3 and Fig. 7c), where bands of
fine-tuned models "exploded"; here each has a name, a threshold and a reason. An exploded band has no barrier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.methods.neighbours import connected, near_pairs, widest_gap

Floats = NDArray[np.float64]

Kind = Literal[
    "converged",
    "unconverged",
    "fmax divergence",
    "energy spike",
    "close contact",
    "image collapse",
    "fragments separated",
    "non-finite",
    "not bracketed",
    "lattice lost",
    "no saddle",
    "no minimum",
]

DIVERGED_FACTOR = 10.0
"""A band whose largest force is this many times the smallest it has reached is going away from convergence."""

DIVERGED_STEPS = 3
"""In so many steps, one after the other: one step too far is taken back by the optimizer and says nothing."""

DIVERGED_EV_A = 5.0
"""Forces below this, eV/A, are no divergence, whatever they were before: a band at work may see them."""

SPIKE_EV = 5.0
"""How far an image may rise above the highest of the first band, or fall below the lower endpoint, eV. No
hop in a solid costs so much; a fall this deep is a hole in the model."""

CONTACT = 0.55
"""Two atoms closer than this fraction of the sum of their covalent radii have fused; the shortest bonds known
(N2, CO) are at 0.77 or more."""

COLLAPSED = 0.1
"""Two neighbouring images closer than this fraction of the mean distance of images are one."""

SEPARATED = 1.6
"""How much wider the widest gap that holds the atoms together may become. A van der Waals gap is wider than
a bond by 1.3; a gap that grows by more than half binds nothing."""


@dataclass(frozen=True)
class Outcome:
    """How a band ended, and where: `image` counts from the first endpoint, which is 0; `step` from 0."""

    kind: Kind
    reason: str
    step: int
    image: int | None = None

    @property
    def converged(self) -> bool:
        """Whether the band has a barrier."""
        return self.kind == "converged"


class Watch:
    """Looks at a band after each evaluation and says when it has exploded.

    Parameters
    ----------
    endpoints
        Energies of both endpoints, eV.
    images
        The first band, endpoints included: what is normal is measured there.
    """

    def __init__(self, endpoints: tuple[float, float], images: Sequence[Atoms]) -> None:
        self.endpoints = endpoints
        self._lowest_fmax = np.inf
        self._diverged = 0
        self._highest_ev: float | None = None
        ends = (images[0], images[-1])
        self._gap = max(widest_gap(end) for end in ends)

    def forces(self, step: int, energies: Floats, fmax: float) -> Outcome | None:
        """What has exploded in this evaluation, or None.

        Parameters
        ----------
        energies
            Of all images, eV, shape (n_images,).
        fmax
            Largest force of the band on an atom of the images that were moved, eV/A: the others wait for theirs.
        """
        inner = energies[1:-1]
        if self._highest_ev is None:
            self._highest_ev = float(max(inner.max(), *self.endpoints))
        found = self._energy_explosion(step, inner) or self._force_explosion(step, fmax)
        self._lowest_fmax = min(self._lowest_fmax, fmax)
        return found

    def geometry(self, step: int, images: Sequence[Atoms]) -> Outcome | None:
        """What is wrong with the geometry of a band before it is evaluated, or None."""
        return geometry_explosion(step, images, self._gap)

    def _energy_explosion(self, step: int, inner: Floats) -> Outcome | None:
        assert self._highest_ev is not None
        top, bottom = int(inner.argmax()), int(inner.argmin())
        above, below = inner[top] - self._highest_ev, min(self.endpoints) - inner[bottom]
        if above > SPIKE_EV:
            reason = f"image {top + 1} rose {above:.1f} eV above the highest of the first band"
            return Outcome("energy spike", reason, step, top + 1)
        if below > SPIKE_EV:
            reason = f"image {bottom + 1} fell {below:.1f} eV below the lower endpoint"
            return Outcome("energy spike", reason, step, bottom + 1)
        return None

    def _force_explosion(self, step: int, fmax: float) -> Outcome | None:
        high = fmax > max(DIVERGED_EV_A, DIVERGED_FACTOR * self._lowest_fmax)
        self._diverged = self._diverged + 1 if high else 0
        if self._diverged == DIVERGED_STEPS:
            reason = f"fmax grew to {fmax:.1f} eV/A after it had come down to {self._lowest_fmax:.2g}, and stayed there"
            return Outcome("fmax divergence", reason, step)
        return None


def geometry_explosion(step: int, images: Sequence[Atoms], normal_gap: float) -> Outcome | None:
    """What is wrong with the geometry of a band, or None."""
    for index, image in enumerate(images[1:-1], 1):
        if found := structure_explosion(image, normal_gap):
            return Outcome(found[0], f"image {index}: {found[1]}", step, index)
    distances = image_distances(images)
    nearest = int(distances.argmin())
    if distances[nearest] < COLLAPSED * distances.mean():
        reason = f"images {nearest} and {nearest + 1} have become one"
        return Outcome("image collapse", reason, step, nearest + 1 if nearest + 2 < len(images) else nearest)
    return None


def structure_explosion(atoms: Atoms, normal_gap: float) -> tuple[Kind, str] | None:
    """What is wrong with the geometry of one structure, its kind and why, or None; `normal_gap` is a `widest_gap`."""
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return "non-finite", "positions or cell are not finite"
    pairs = near_pairs(atoms, SEPARATED * normal_gap)
    if pairs.ratios.size and (ratio := pairs.ratios.min()) < CONTACT:
        row = int(pairs.ratios.argmin())
        pair = sorted((int(pairs.first[row]), int(pairs.second[row])))
        names = " and ".join(f"{atoms.symbols[atom]} {atom}" for atom in pair)
        return "close contact", f"{names} are at {ratio:.2f} of the sum of their covalent radii"
    if not connected(pairs, len(atoms)):
        gap = widest_gap(atoms)
        return "fragments separated", f"its widest gap has become {gap / normal_gap:.1f} times what it was"
    return None


def image_distances(images: Sequence[Atoms]) -> Floats:
    """Distance of each image to the next, over all 3 n_atoms components, A, shape (n_images - 1,)."""
    steps = [b.positions - a.positions for a, b in pairwise(images)]
    return np.array([np.linalg.norm(step) for step in steps])
