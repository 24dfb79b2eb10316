"""Crystal of layers -> cases of sliding, whose frames wait for their energies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from mlff_probes.cases.builders.collisions import collision
from mlff_probes.cases.builders.crystals import formula, read_crystal
from mlff_probes.cases.builders.dopants import Dopant, doped
from mlff_probes.cases.builders.layers import layered
from mlff_probes.cases.builders.made import shared_keys
from mlff_probes.cases.builders.registries import way_of_sliding
from mlff_probes.cases.builders.slide_cases import fixed_gap_case, relaxed_gap_case
from mlff_probes.cases.builders.slides import Sliding
from mlff_probes.core.errors import InputError

GAPS_A = (0.0, 0.2)
"""Gaps of fixed-gap cases beyond that of the crystal, A: itself, and little more, as without dispersion."""

OUT_A = (-0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.2, 3.5, 6.0)
"""Gaps of a relaxed-gap case beyond that of the crystal, A: both sides of the minimum with and without dispersion, and
far enough out to count as separated."""


MOST_REGISTRIES = 120
"""Of a period: a step is then a few hundredths of an angstrom."""


@dataclass(frozen=True)
class Wanted:
    """What a user asks for.

    Attributes
    ----------
    registries
        Of a period, a multiple of six.
    gaps
        Of the fixed-gap cases, one case each, beyond the gap of the crystal, A; by default `GAPS_A`, and 0 where a
        dopant makes them dear.
    relaxed_gaps
        Of the relaxed-gap case, at each landmark, beyond the gap of the crystal, A; empty for no such case. By default
        `OUT_A`, and none where a dopant makes them dear.
    vector
        The period in lattice vectors of the plane; None for the one that symmetry suggests.
    all_layers
        Keep all layers of the crystal's cell.
    dopant
        A foreign atom, as ``Cr@Sb`` or ``Cr@gap``; None for the pristine crystal.
    supercell
        Of a doped crystal, in the plane.
    id
        How the names of the cases begin; None for the formula.
    level
        Level of theory at which the case will be recorded; None where that is still to be stated.
    """

    registries: int = 12
    gaps: tuple[float, ...] | None = None
    relaxed_gaps: tuple[float, ...] | None = None
    vector: tuple[int, int] | None = None
    all_layers: bool = False
    dopant: str | None = None
    supercell: tuple[int, int] = (2, 2)
    id: str | None = None
    level: str | None = None


def sliding_cases(path: Path, wanted: Wanted = Wanted()) -> Sliding:
    """Cut the smallest cell of a layered crystal that slides one interface, and make its cases.

    Raises
    ------
    InputError
        If the file holds no crystal of layers, what is wanted makes no sense, or atoms collide on the way.
    """
    gaps = wanted.gaps if wanted.gaps is not None else (0.0,) if wanted.dopant else GAPS_A
    out = wanted.relaxed_gaps if wanted.relaxed_gaps is not None else () if wanted.dopant else OUT_A
    _check(wanted, gaps, out)
    found = layered(read_crystal(path), path, all_layers=wanted.all_layers)
    cell, way = way_of_sliding(found.cell, wanted.vector)
    crystal = found.with_cell(cell)
    doping = wanted.dopant and doped(crystal, Dopant.parsed(wanted.dopant), wanted.supercell, path)
    made = Sliding(crystal, way, wanted.registries, doping or None)
    material = formula(made.base)
    name = wanted.id or formula(cell).lower() + (f"_{doping.dopant.in_words}" if doping else "")
    shared = shared_keys(material, wanted.level, f"geometry made of {path.name} by mlff-probes make sliding")
    cases = [fixed_gap_case(made, name, gap, shared) for gap in dict.fromkeys(gaps)]
    if out:
        cases.append(relaxed_gap_case(made, name, out, shared))
    for case in cases:
        check_path(case.frames, path)
    return replace(made, cases=tuple(cases))


def check_path(frames: Sequence[Atoms], where: Path) -> None:
    """Refuse frames in which atoms run into each other."""
    if (found := collision(frames)) is None:
        return
    index, pair = found
    at = frames[index].info
    named = " and ".join(f"{frames[index].symbols[atom]} (atom {atom})" for atom in (pair.first, pair.second))
    raise InputError(
        where, f"{named} collide at u = {at['slide']:.3g} and a gap of {at['gap']:.2f} A: {pair.distance:.2f} A apart, "
        f"{pair.ratio:.2f} of the sum of their covalent radii", "wider --gaps keep them apart",
    )  # fmt: skip


def _check(wanted: Wanted, gaps: Sequence[float], out: Sequence[float]) -> None:
    if wanted.registries % 6 or not 6 <= wanted.registries <= MOST_REGISTRIES:
        raise InputError(
            "--registries", f"must be a multiple of 6, {MOST_REGISTRIES} at most, found {wanted.registries}",
            "1/3 and 1/2 are then among them",
        )  # fmt: skip
    if not np.isfinite([*gaps, *out]).all():
        raise InputError("--gaps", "must be finite numbers of A", "beyond the gap of the crystal: 0 0.2")
    if wanted.vector is not None and not any(wanted.vector):
        raise InputError("--slide-vector", "must not be zero")
    if out and len(set(out)) < 4:
        raise InputError("--relaxed-gaps", "a fit of E(gap) needs at least 4 gaps")
    if not gaps and not out:
        raise InputError("--gaps", "no gaps are asked for, so there is nothing to make")
