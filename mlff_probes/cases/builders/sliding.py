"""Crystal of layers -> cases of sliding, whose frames wait for their energies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlff_probes.cases.builders.collisions import collision
from mlff_probes.cases.builders.crystals import Floats, formula, read_crystal
from mlff_probes.cases.builders.layers import Layered, layered
from mlff_probes.cases.builders.made import UNMEASURED, Made, shared_keys
from mlff_probes.cases.builders.registries import LANDMARKS, Way, atop, equal_registries, slid, way_of_sliding
from mlff_probes.cases.load import CaseFile, ExpectationTable
from mlff_probes.core.errors import InputError
from mlff_probes.measure.sliding.protocols import FixedGapSlide, RelaxedGapSlide

OUT_A = (-0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.2, 3.5, 6.0)
"""Gaps of a relaxed-gap case beyond that of the crystal, A: both sides of the minimum with and without dispersion, and
far enough out to count as separated."""


@dataclass(frozen=True)
class Wanted:
    """What a user asks for.

    Attributes
    ----------
    registries
        Of a period, a multiple of six.
    gaps
        Of the fixed-gap cases, one case each, beyond the gap of the crystal, A.
    relaxed_gaps
        Of the relaxed-gap case, at each landmark, beyond the gap of the crystal, A; none for no such case.
    vector
        The period in lattice vectors of the plane; None for the one that symmetry suggests.
    all_layers
        Keep all layers of the crystal's cell.
    id
        How the names of the cases begin; None for the formula.
    level
        Level of theory at which the case will be recorded; None where that is still to be stated.
    """

    registries: int = 12
    gaps: tuple[float, ...] = (0.0, 0.2)
    relaxed_gaps: tuple[float, ...] = OUT_A
    vector: tuple[int, int] | None = None
    all_layers: bool = False
    id: str | None = None
    level: str | None = None


@dataclass(frozen=True)
class Sliding:
    """What was made of a crystal: its layers, the way they slide, which registries are equal, and the cases."""

    crystal: Layered
    way: Way
    equal: tuple[int, ...]
    cases: tuple[Made, ...]

    def landmark(self, u: float) -> str:
        """What lies atop what at a registry, in words."""
        found = atop(slid(self.crystal.cell, u * period_vector(self.crystal.cell, self.way)))
        if not found:
            return "no outermost atoms atop each other"
        return " and ".join(f"{pair} ({n} pairs)" if n > 1 else pair for pair, n in Counter(found).items())

    @property
    def equal_groups(self) -> list[list[int]]:
        """Registries that symmetry makes equal, in groups of at least two."""
        groups = [[i for i, first in enumerate(self.equal) if first == each] for each in sorted(set(self.equal))]
        return [group for group in groups if len(group) > 1]


def sliding_cases(path: Path, wanted: Wanted = Wanted()) -> Sliding:
    """Cut the smallest cell of a layered crystal that slides one interface, and make its cases.

    Raises
    ------
    InputError
        If the file holds no crystal of layers, what is wanted makes no sense, or atoms collide on the way.
    """
    _check(wanted)
    found = layered(read_crystal(path), path, all_layers=wanted.all_layers)
    cell, way = way_of_sliding(found.cell, wanted.vector)
    made = Sliding(found.with_cell(cell), way, tuple(equal_registries(cell, way, wanted.registries)), ())
    material = formula(cell)
    name = wanted.id or material.lower()
    shared = shared_keys(material, wanted.level, f"geometry made of {path.name} by mlff-probes make sliding")
    cases = [_fixed(made, name, gap, wanted.registries, shared) for gap in wanted.gaps]
    if wanted.relaxed_gaps:
        cases.append(_relaxed(made, name, wanted.relaxed_gaps, shared))
    for case in cases:
        check_path(case.frames, path)
    return Sliding(made.crystal, way, made.equal, tuple(cases))


def period_vector(cell: Atoms, way: Way) -> Floats:
    """The vector of one period, A, shape (3,)."""
    vector: Floats = np.array(way.vector) @ cell.cell.array[:2]
    return vector


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


def _check(wanted: Wanted) -> None:
    if wanted.registries < 6 or wanted.registries % 6:
        raise InputError(
            "--registries", f"must be a multiple of 6, found {wanted.registries}", "1/3 and 1/2 are then among them"
        )
    if wanted.vector is not None and not any(wanted.vector):
        raise InputError("--slide-vector", "must not be zero")
    if wanted.relaxed_gaps and len(set(wanted.relaxed_gaps)) < 4:
        raise InputError("--relaxed-gaps", "a fit of E(gap) needs at least 4 gaps")
    if not wanted.gaps and not wanted.relaxed_gaps:
        raise InputError("--gaps", "no gaps are asked for, so there is nothing to make")


def _frame(made: Sliding, u: float, gap: float) -> Atoms:
    cell = made.crystal.cell
    frame = slid(cell, u * period_vector(cell, made.way), gap_shift=gap)
    frame.info = {"slide": u, "gap": round(made.crystal.gap + gap, 6)}
    return frame


def _fixed(made: Sliding, name: str, gap: float, registries: int, shared: dict[str, Any]) -> Made:
    frames = tuple(_frame(made, index / registries, gap) for index in range(registries))
    units = FixedGapSlide.quantities
    judged = [*_of_landmarks(made, ("atop_energy", "stacking_fault_energy")), "profile_mae", "max_lateral_force"]
    if made.way.landmarks:
        judged.insert(-2, "bridge_barrier")
    exact = ExpectationTable(
        quantity="periodicity", unit=units["periodicity"], value=0.0, uncertainty=0.0, level_of_theory="exact",
        source="exact",
    )  # fmt: skip
    stated = made.crystal.gap + gap
    away = f"{abs(gap):g} A {'above' if gap > 0 else 'below'} that of the crystal" if gap else "that of the crystal"
    table = CaseFile(
        **shared,
        title=f"{shared['material']} layers sliding at a fixed gap of {stated:.2f} A ({away})",
        protocol=FixedGapSlide(kind="fixed_gap_slide", slide_vector=made.way.vector),
        expectation=(*_expected(judged, units), exact),
        notes=(*_landmark_notes(made, registries), *_cell_notes(made), UNMEASURED),
    )
    return Made(f"{name}_fixed_gap_{'minus_' if gap < 0 else ''}{abs(gap):.1f}", table, frames)


def _relaxed(made: Sliding, name: str, gaps: Sequence[float], shared: dict[str, Any]) -> Made:
    shown = {"crystal": 0.0}
    if made.way.landmarks:
        third = len(made.equal) // 3
        shown |= {
            name: u
            for name, u, index in zip(("atop", "fault"), LANDMARKS[1:], (third, 2 * third), strict=True)
            if made.equal[index] == index
        }
    frames = tuple(_frame(made, u, gap) for u in shown.values() for gap in sorted(set(gaps)))
    units = RelaxedGapSlide.quantities
    judged = [name for name in units if RelaxedGapSlide.measured_at.get(name, "crystal") in shown]
    left_out = "" if made.way.landmarks and len(shown) == 3 else _why_left_out(made)
    table = CaseFile(
        **shared,
        title=f"{shared['material']} layers with the gap relaxed, and pulled apart",
        protocol=RelaxedGapSlide(kind="relaxed_gap_slide", slide_vector=made.way.vector),
        expectation=tuple(_expected(judged, units)),
        notes=(
            f"E(gap) at {', '.join(shown)}; a minimum on the edge of the sampled gaps is an error, not a value.",
            *((left_out,) if left_out else ()),
            f"Separation means {max(gaps):g} A above the gap of the crystal.",
            *_cell_notes(made), UNMEASURED,
        ),
    )  # fmt: skip
    return Made(f"{name}_relaxed_gap", table, frames)


def _of_landmarks(made: Sliding, names: tuple[str, str]) -> list[str]:
    """Which energies of landmarks are worth judging: those that symmetry does not make zero."""
    if not made.way.landmarks:
        return []
    third = len(made.equal) // 3
    return [name for name, index in zip(names, (third, 2 * third), strict=True) if made.equal[index] != 0]


def _expected(names: Sequence[str], units: dict[str, str]) -> list[ExpectationTable]:
    return [ExpectationTable(quantity=name, unit=units[name], uncertainty=0.0) for name in names]


def _landmark_notes(made: Sliding, registries: int) -> list[str]:
    if made.way.landmarks:
        places = zip(("u = 0 (crystal)", "u = 1/3 (atop)", "u = 2/3 (fault)"), LANDMARKS, strict=True)
        notes = ["; ".join(f"{name}: {made.landmark(u)}" for name, u in places) + f"; {registries} registries."]
    else:
        notes = [
            f"u = 0 is the crystal; {registries} registries. No three-fold axes meet along this way: u = 1/3 and 2/3 "
            "are no landmarks."
        ]
    if made.equal_groups:
        notes.append(f"Equal by symmetry: {equal_in_words(made)}.")
    return notes


def equal_in_words(made: Sliding) -> str:
    """The registries that symmetry makes equal, as "u = 1/12 and 7/12, 1/6 and 1/2"."""
    n = len(made.equal)
    return "u = " + ", ".join(" and ".join(_fraction(i, n) for i in group) for group in made.equal_groups)


def _fraction(index: int, of: int) -> str:
    divisor = int(np.gcd(index, of))
    return f"{index // divisor}/{of // divisor}" if index else "0"


def _why_left_out(made: Sliding) -> str:
    if not made.way.landmarks:
        return "The crystal alone: along this way u = 1/3 and 2/3 are no landmarks."
    return f"Registries that symmetry makes equal are sampled once: {equal_in_words(made)}."


def _cell_notes(made: Sliding) -> list[str]:
    found = made.crystal
    notes = ["Energies in eV per cell with one interface that slides; J/m^2 is the same energy over |a1 x a2|."]
    if found.layers > 1:
        notes.append(
            f"The cell holds {found.layers} layers: the interface at its boundary slides, and those inside it stay as "
            "in the crystal."
        )
    elif not found.stacking_kept:
        notes.append(
            "One layer a cell: each interface is that of the crystal, but layers farther apart stand otherwise than in "
            f"the crystal, whose cell holds {found.of_crystal}."
        )
    if found.interfaces > 1:
        notes.append(f"The crystal has {found.interfaces} kinds of interface; the widest one slides.")
    return notes
