"""The cases around the frames of a crystal that slides: what they expect, and what a reader must know of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mlff_probes.cases.builders.collisions import nearest_to
from mlff_probes.cases.builders.made import UNMEASURED, Made
from mlff_probes.cases.builders.registries import LANDMARKS
from mlff_probes.cases.builders.slides import Sliding
from mlff_probes.cases.load import CaseFile, ExpectationTable
from mlff_probes.core.structures import derived
from mlff_probes.measure.sliding.protocols import FixedGapSlide, RelaxedGapSlide


def fixed_gap_case(made: Sliding, name: str, gap: float, shared: dict[str, Any]) -> Made:
    """One period of sliding at a gap beyond that of the crystal, A."""
    frames = tuple(made.frames(gap))
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
        protocol=FixedGapSlide(kind="fixed_gap_slide", slide_vector=made.vector, closes=made.closes),
        expectation=(*_expected(judged, units), *((exact,) if made.closes else ())),
        notes=(*_landmark_notes(made), *_doping_notes(made), *_cell_notes(made), UNMEASURED),
    )
    drawn = tuple(_from_the_side(made, frames[index]) for index in (0, *_thirds(made)))
    size = max(f"{abs(gap):.1f}", f"{abs(gap):g}", key=len)
    return Made(f"{name}_fixed_gap_{'minus_' if gap < 0 else ''}{size}", table, frames, drawn)


def _from_the_side(made: Sliding, frame: Atoms) -> Atoms:
    """Two layers of a frame as they are drawn: the way of sliding along x, a patch of the plane."""
    along = made.period / np.linalg.norm(made.period)
    turn = np.array([along, [-along[1], along[0], 0.0], [0.0, 0.0, 1.0]])
    patch = (1, 1) if made.doping else (3, 3)
    return derived(derived(frame, repeat=(*patch, 2)), turned=turn)


def relaxed_gap_case(made: Sliding, name: str, gaps: Sequence[float], shared: dict[str, Any]) -> Made:
    """E(gap) at the landmarks that differ, at gaps beyond that of the crystal, A."""
    shown = {"crystal": 0}
    if made.way.landmarks:
        places = zip(("atop", "fault"), _thirds(made), strict=True)
        shown |= {landmark: index for landmark, index in places if made.equal[index] == index}
    at_gaps = [made.frames(gap) for gap in sorted(set(gaps))]
    frames = tuple(frames[index] for index in shown.values() for frames in at_gaps)
    units = RelaxedGapSlide.quantities
    judged = [name for name in units if RelaxedGapSlide.measured_at.get(name, "crystal") in shown]
    left_out = "" if made.way.landmarks and len(shown) == 3 else _why_left_out(made)
    table = CaseFile(
        **shared,
        title=f"{shared['material']} layers with the gap relaxed, and pulled apart",
        protocol=RelaxedGapSlide(kind="relaxed_gap_slide", slide_vector=made.vector),
        expectation=tuple(_expected(judged, units)),
        notes=(
            f"E(gap) at {', '.join(shown)}; a minimum on the edge of the sampled gaps is an error, not a value.",
            *((left_out,) if left_out else ()),
            f"Separation means {max(gaps):g} A above the gap of the crystal.",
            *_doping_notes(made), *_cell_notes(made), UNMEASURED,
        ),
    )  # fmt: skip
    return Made(f"{name}_relaxed_gap", table, frames)


def _of_landmarks(made: Sliding, names: tuple[str, str]) -> list[str]:
    """Which energies of landmarks are worth judging: those that symmetry does not make zero."""
    if not made.way.landmarks:
        return []
    return [name for name, index in zip(names, _thirds(made), strict=True) if made.equal[index] != 0]


def _thirds(made: Sliding) -> tuple[int, int]:
    """The registries u = 1/3 and 2/3, by index."""
    return made.registries // 3, 2 * made.registries // 3


def _expected(names: Sequence[str], units: dict[str, str]) -> list[ExpectationTable]:
    return [ExpectationTable(quantity=name, unit=units[name], uncertainty=0.0) for name in names]


def _landmark_notes(made: Sliding) -> list[str]:
    registries = len(made.places)
    if made.way.landmarks:
        places = zip(("u = 0 (crystal)", "u = 1/3 (atop)", "u = 2/3 (fault)"), LANDMARKS, strict=True)
        notes = ["; ".join(f"{name}: {made.landmark(u)}" for name, u in places) + f"; {registries} registries."]
    else:
        notes = [
            f"u = 0 is the crystal; {registries} registries. No three-fold axes meet along this way: u = 1/3 and 2/3 "
            "are no landmarks."
        ]
    if made.equal_groups:
        notes.append(f"Equal by symmetry: {made.equal_in_words}.")
    return notes


def _why_left_out(made: Sliding) -> str:
    if not made.way.landmarks:
        return "The crystal alone: along this way u = 1/3 and 2/3 are no landmarks."
    return f"Registries that symmetry makes equal are sampled once: {made.equal_in_words}."


def _doping_notes(made: Sliding) -> list[str]:
    if (doping := made.doping) is None:
        return []
    element, size = doping.dopant.element, "x".join(map(str, doping.supercell))
    notes = [
        f"The period is that of the pristine crystal, which is none of the {size} cell with {element}: u = 1 need "
        "not be u = 0 again, and is a registry. A dopant may carry a magnetic moment: record it spin-polarised."
    ]
    if not doping.follows:
        return [f"{element} stands on the {doping.dopant.site} site nearest the interface, and stays there.", *notes]
    fixed = [nearest_to(frame, doping.atom) for frame in made.frames(0.0, follows=False)]
    worst = min(range(len(fixed)), key=lambda index: fixed[index].ratio)
    other = made.base.symbols[fixed[worst].second]
    return [
        f"{element} stands in the roomiest site of the gap at u = 0 and goes half-way with the layer that slides, or, "
        f"where that is narrow, to the roomiest place beside. Fixed to the layer below, it would come to within "
        f"{fixed[worst].distance:.2f} A of {other} at u = {made.fraction(worst)}.",
        *notes,
    ]


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
