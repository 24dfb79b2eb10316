"""Does a model do what it states? A term of dispersion is felt across a vacuum that no other term reaches across."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.dispersion import KEYS, term
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.calculators.tree import has_dispersion
from mlff_probes.core.case import Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.levels import Parts, of_structure, parts_of
from mlff_probes.core.structures import made, settings
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.laws.examples import ROUNDINGS, Shown, Worst, no_structures, resolution
from mlff_probes.measure.laws.protocols import StatedLevel
from mlff_probes.measure.laws.tried import tried_elements
from mlff_probes.measure.results import Result

LAW = "stated_level"

DISTANCES_A = (12.0, 13.0, 14.0)
"""Distances of layers: beyond the cutoff of any model of neighbours, and near enough that a term of dispersion that is
cut off at 20 A or more has most of its attraction."""

FAR_A = 70.0
"""The distance of layers that do not feel each other, whatever the cutoff of a term."""

SEEN_EV = 5e-5
"""An attraction, eV an atom, that is no rounding."""

WEAKEST_EV = 4 * SEEN_EV
"""The attraction of D3 with which another is compared: carbon and hydrogen have as much at 14 A, tellurium 1.6 meV."""

Floats = NDArray[np.float64]


def stated_level(calculator: Calculator, case: Case[StatedLevel], conditions: Conditions = QUIET) -> Result:
    """Pull layers of atoms of one element together across a vacuum, and compare with what the stated level has there.

    A layer is hexagonal, its atoms apart by twice their covalent radius, and repeated at 12, 13 and 14 A. Such layers
    have no charge and no dipole: what they feel of each other in DFT falls off exponentially, but for dispersion, which
    falls off with the fourth power. The deviation of an element is the largest, over the distances, of
    ``|attraction / attraction of D3 - 1|`` where the model states D3, and of ``|attraction / attraction of D3|`` where
    it states a functional alone.

    Undecided, and so not applicable: a model that nobody states a level of, or one that is not known here; and one that
    states D3 and feels nothing so far out, which may have learned the term within its cutoff.
    """
    worst, calls = Worst(case.protocol.units(case.frames), what="elements"), Calls()
    elements = _chosen(tried_elements(calculator, case), case)
    if not elements:
        return no_structures(worst, calculator, case)
    level = calculator.identity.level_of_theory
    parts = parts_of(of_structure(level, ())) if level else None
    if parts is None or _other_dispersion(parts):
        worst.without(LAW, _undecided(level), applicable=False, by_nature=level is not None)
        return worst.result(calls)
    told = settings(case.frames)
    frames = [_layer(element, distance, told) for element in elements for distance in (*DISTANCES_A, FAR_A)]
    conditions.report(f"layers of {', '.join(elements)} across a vacuum")
    felt, energies = _attraction(calculator, frames, calls)
    rounding = ROUNDINGS * resolution(calculator.identity.dtype) * np.abs(energies)[:, None]
    felt = np.where(np.abs(felt) > SEEN_EV + rounding, felt, 0.0)
    if parts.dispersion and not felt.any():
        reason = f"it feels nothing beyond {DISTANCES_A[0]:g} A: a term within its cutoff cannot be told from none"
        worst.without(LAW, reason, applicable=False, by_nature=True)
        return worst.result(calls)
    try:
        shares = _shares(felt, parts, frames)
    except InputError as error:
        worst.without(LAW, str(error), applicable=False)
        return worst.result(calls)
    for row, element in enumerate(elements):
        if np.isfinite(shares[row]).all():
            deviation = np.abs(shares[row] - bool(parts.dispersion)).max()
            worst.add(LAW, float(deviation), partial(_shown, element, str(level), shares[row], felt[row], told))
    if not worst.deviations:
        worst.without(LAW, f"what {', '.join(elements)} feel of D3 is too weak", applicable=False, by_nature=True)
    worst.leave_out("too weak", int((~np.isfinite(shares).all(axis=1)).sum()))
    return worst.result(calls, arrays={"element": elements, "attraction": felt[:, 0].tolist()})


def _chosen(elements: list[str], case: Case[StatedLevel]) -> list[str]:
    """Those of the case first, then the heaviest, up to as many as are asked for."""
    first = [element for element in elements if element in case.elements]
    others = sorted(set(elements) - set(first), key=atomic_numbers.__getitem__, reverse=True)
    return [*first, *others][: case.protocol.examples]


def _other_dispersion(parts: Parts) -> bool:
    """Whether a level has dispersion that is not known here."""
    return has_dispersion(parts.functional) or (bool(parts.dispersion) and parts.dispersion not in KEYS.values())


def _undecided(level: str | None) -> str:
    if level is None:
        return "it does not state its level of theory"
    return f"which dispersion '{level}' has, if any, is not known here"


def _layer(element: str, distance: float, told: Mapping[str, Any]) -> Atoms:
    """A hexagonal layer of one atom a cell, `distance` (A) from the next one."""
    side = 2 * covalent_radii[atomic_numbers[element]]
    cell = [[side, 0, 0], [-side / 2, side * np.sqrt(3) / 2, 0], [0, 0, distance]]
    return made([element], cell=cell, info=told)


def _attraction(calculator: Any, frames: list[Atoms], calls: Calls) -> tuple[Floats, Floats]:
    """What layers gain by coming near, eV an atom, shape (n_elements, n_distances), and their energy far apart, eV."""
    energies = calls.add(evaluate(calculator, frames, forces=False)).energies.reshape(-1, len(DISTANCES_A) + 1)
    return energies[:, -1:] - energies[:, :-1], energies[:, -1]


def _shares(felt: Floats, parts: Parts, frames: list[Atoms]) -> Floats:
    """What is felt, as a part of what D3 has there; zero where nothing is, NaN where D3 has too little to be seen.

    Raises
    ------
    InputError
        If something is felt, and D3 cannot be had to compare it with.
    """
    if not felt.any():
        return np.zeros_like(felt)
    expected, _ = _attraction(term(parts.functional, parts.dispersion or KEYS["d3bj"]), frames, Calls())
    return np.divide(felt, expected, out=np.full_like(felt, np.nan), where=expected > WEAKEST_EV)


def _shown(element: str, level: str, shares: Floats, felt: Floats, told: Mapping[str, Any]) -> Shown:
    frames = tuple(_layer(element, distance, told) for distance in (*DISTANCES_A, FAR_A))
    says = f"layers of {element} at {DISTANCES_A[0]:g} A attract each other by {1e3 * felt[0]:.3g} meV an atom, which"
    return Shown(frames, f"{says} is {shares[0]:.2g} of what D3 has there; stated is {level}")
