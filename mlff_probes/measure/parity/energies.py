"""The zero of energies: what is taken off energy differences before they are errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.formula import Formula
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EnergyReference = Literal["composition", "elements", "absolute"]

MOST_FITTED = 0.75
"""A frame counts if the fit takes no more than this part of its own error away.

It is a half in a composition of two frames, 0.7 for the outer ones of four that go evenly from one element to another,
and all of it for a frame that holds an element alone.
"""

ROUNDING = 1e-9
"""How far rounding may lift the part that a fit takes away."""

SMALLEST = 1e-6
"""Energies of elements can be told apart if the smallest singular value is more than this part of the largest: one atom
more in a million changes a ratio."""

ALONE: dict[EnergyReference, tuple[str, str]] = {
    "composition": (
        "alone in their composition",
        'set energy_reference = "elements" in [protocol], which fits an energy an element and not one a composition',
    ),
    "elements": (
        "of whose error the fit of elements takes away more than three quarters",
        "add frames of elements or compositions like theirs",
    ),
    "absolute": ("", ""),
}
"""Why a frame is left out, and how to have it too."""


@dataclass(frozen=True)
class EnergyErrors:
    """Energy errors of frames after their zero was taken off.

    Attributes
    ----------
    per_atom
        Shape (n_frames,), eV/atom, scaled up for what the fit took away; NaN for a frame of whose error the fit leaves
        less than a quarter.
    offsets
        What was taken off, eV/atom, by composition or by element.
    """

    per_atom: Floats
    offsets: dict[str, float]


def energy_errors(
    frames: Sequence[Atoms], differences: Floats, reference: EnergyReference = "composition"
) -> EnergyErrors:
    """Energy error of each frame per atom, after what a different zero of energies explains was taken off.

    Codes and pseudopotentials share no energy zero. What is taken off the `differences` (n_frames,), eV, per atom:

    - `composition`: their mean over all frames of one composition; a composition with a single frame says nothing;
    - `elements`: sum over X of x_X c_X, with the part x_X of the atoms that are X and one c_X an element, by least
      squares over all frames;
    - `absolute`: nothing.

    The fit also takes a part h_k of the error of frame k itself away, its leverage: 1/n in a composition of n frames.
    Of independent errors of variance s^2 it leaves residuals of variance (1 - h_k) s^2, so each is divided by
    sqrt(1 - h_k), and their mean square is s^2 again (Cook and Weisberg, Residuals and Influence in Regression, 1982,
    section 2.1).
    """
    residuals, taken, offsets = _fitted(frames, differences, reference)
    judged = taken <= MOST_FITTED + ROUNDING
    return EnergyErrors(np.where(judged, residuals / np.sqrt(1 - np.where(judged, taken, 0.0)), np.nan), offsets)


def centred_energies(frames: Sequence[Atoms], energies: Floats, reference: EnergyReference) -> Floats:
    """Energies per atom to be drawn, about zero and with the zero of `energy_errors`, eV/atom, shape (n_frames,)."""
    found, _, _ = _fitted(frames, energies, reference)
    return found - found.mean() if reference == "absolute" else found


def elements_problem(frames: Sequence[Atoms]) -> str | None:
    """Why no energy an element can be fitted to these frames; None where it can."""
    names, shares = _element_shares(frames)
    if len(frames) <= len(names):
        return (
            f'energy_reference = "elements" fits {len(names)} energies, one an element, to {len(frames)} frames; it '
            "needs more frames than elements"
        )
    _, values, directions = np.linalg.svd(shares, full_matrices=False)
    blind = directions[values < SMALLEST * values[0]]
    if not len(blind):
        return None
    alike = [name for name, moved in zip(names, np.abs(blind).max(axis=0), strict=True) if moved > SMALLEST]
    return (
        f'energy_reference = "elements" cannot tell the energies of {", ".join(alike)} apart, since in all frames '
        'their numbers depend on each other; add frames where they do not, or set energy_reference = "composition"'
    )


def _fitted(
    frames: Sequence[Atoms], energies: Floats, reference: EnergyReference
) -> tuple[Floats, Floats, dict[str, float]]:
    """What a fit leaves of energies per atom, the part of its own that it takes away of each frame, what it fitted."""
    per_atom = energies / np.array([len(frame) for frame in frames])
    if reference == "absolute":
        return per_atom, np.zeros(len(per_atom)), {}
    return _of_elements(frames, per_atom) if reference == "elements" else _of_compositions(frames, per_atom)


def _of_compositions(frames: Sequence[Atoms], per_atom: Floats) -> tuple[Floats, Floats, dict[str, float]]:
    names = np.array([Formula.from_dict(_counts(frame)).reduce()[0].format("hill") for frame in frames])
    residuals, taken, offsets = np.zeros(len(per_atom)), np.ones(len(per_atom)), {}
    for name in np.unique(names):
        rows = names == name
        if rows.sum() > 1:
            offsets[str(name)] = float(per_atom[rows].mean())
            residuals[rows] = per_atom[rows] - per_atom[rows].mean()
            taken[rows] = 1 / rows.sum()
    return residuals, taken, offsets


def _of_elements(frames: Sequence[Atoms], per_atom: Floats) -> tuple[Floats, Floats, dict[str, float]]:
    names, shares = _element_shares(frames)
    basis, values, directions = np.linalg.svd(shares, full_matrices=False)
    known = values > SMALLEST * values[0]
    basis = basis[:, known]
    offsets = directions[known].T @ (basis.T @ per_atom / values[known])
    taken = (basis**2).sum(axis=1)  # the diagonal of the hat matrix
    return per_atom - shares @ offsets, taken, dict(zip(names, offsets.tolist(), strict=True))


def _counts(frame: Atoms) -> dict[str, int]:
    """How many atoms of each element a frame has; its own formula would be parsed from a text."""
    numbers, counts = np.unique(frame.numbers, return_counts=True)
    return {chemical_symbols[z]: int(n) for z, n in zip(numbers, counts, strict=True)}


def _element_shares(frames: Sequence[Atoms]) -> tuple[list[str], Floats]:
    """The elements, and the part of the atoms of each frame that each makes up, shape (n_frames, n_elements)."""
    counts = list(map(_counts, frames))
    names = sorted({name for count in counts for name in count})
    rows = [[count.get(name, 0) / len(frame) for name in names] for count, frame in zip(counts, frames, strict=True)]
    return names, np.array(rows)
