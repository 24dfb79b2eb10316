"""Two atoms alone, pressed together: does something stop them?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.structures import made, settings
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.laws.examples import Shown, Worst, no_structures
from mlff_probes.measure.laws.protocols import ShortRangeWall
from mlff_probes.measure.laws.tried import tried_elements
from mlff_probes.measure.results import Result

LAW = "wall_deficit"
WALL_EV = 5.0
"""The least height that stops two atoms: 60 kT at 1,000 K, and out of reach of any relaxation."""

HOLE_EV = 1.0
"""A pair whose energy falls so far below its well on the way in from there has fallen into a hole."""

BOND_EV = 12.0
"""No two atoms are bound by more (CO, the most strongly bound pair of all: 11.2 eV; Huber and Herzberg, 1979)."""

DISTANCES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Distances over the sum of the covalent radii, going in."""

WELL = 4
"""Number of outer distances that may be the bond of a pair: even that of N2 is at 0.77, of Cr2 at 0.60."""

COARSE = 6
"""All pairs are pressed so far; only those without a wall by then farther."""

AT_A_TIME = 200
"""Pairs between two reports of progress."""

WORST_DRAWN = 6
"""Pairs with the lowest walls whose curves are kept for the picture, beside those of the case."""

BOX_A = 30.0
"""Edge of the periodic cell around two atoms."""


def short_range_wall(calculator: Calculator, case: Case[ShortRangeWall], conditions: Conditions = QUIET) -> Result:
    """Press two atoms of every pair of elements together.

    The well of a pair is its lowest energy at 0.9 to 0.6 of the sum of the covalent radii. Going in from there to 0.2,
    in steps of 0.1, the energy must rise to `WALL_EV` above it, before it falls by more than `HOLE_EV` below it;
    nowhere before that wall may it fall by more than `BOND_EV` below that at 0.9. What the pair with the lowest wall
    lacks is `wall_deficit`, eV. Real atoms all have that wall (Ziegler, Biersack, Littmark, The Stopping and Range of
    Ions in Solids, 1985); in a model without it they fuse.
    """
    worst, calls = Worst(case.protocol.units(case.frames), what="pairs"), Calls()
    elements = tried_elements(calculator, case)
    if not elements:
        return no_structures(worst, calculator, case)
    pairs = _pairs(elements, sorted(case.elements & set(elements)), case.protocol.examples)
    energies, told = np.full((len(pairs), len(DISTANCES)), np.nan), settings(case.frames)
    for columns in (range(COARSE), range(COARSE, len(DISTANCES))):
        wanted = [row for row in range(len(pairs)) if columns[0] == 0 or wall_height(energies[row]) < WALL_EV]
        for start in range(0, len(wanted), AT_A_TIME):
            rows = wanted[start : start + AT_A_TIME]
            conditions.report(
                f"pair {start + 1} of {len(wanted)}, down to {DISTANCES[columns[-1]]} of the covalent radii"
            )
            frames = [_dimer(pairs[row], DISTANCES[column], told) for row in rows for column in columns]
            names = list(map(_name, frames))
            found = calls.add(evaluate(calculator, frames, forces=False, name=names.__getitem__))
            energies[np.ix_(rows, columns)] = found.energies.reshape(len(rows), len(columns))
    for pair, row in zip(pairs, energies, strict=True):
        worst.add(LAW, max(0.0, WALL_EV - wall_height(row)), partial(_shown, pair, row, told))
    lacking = np.count_nonzero(worst.deviations[LAW])
    if lacking:
        worst.remarks[LAW] = f"{lacking:,} of {len(pairs):,} have a wall of less than {WALL_EV:g} eV"
    worst.leave_out("not among those that the case asks for", len(elements) * (len(elements) + 1) // 2 - len(pairs))
    lowest, of_case = np.argsort(worst.deviations[LAW])[::-1][:WORST_DRAWN], case.elements
    kept = [index for index, pair in enumerate(pairs) if set(pair) <= of_case or index in lowest]
    arrays: dict[str, list[Any]] = {"pair": ["-".join(pair) for pair in pairs], "distance": list(DISTANCES)}
    for index in kept:
        known = energies[index][~np.isnan(energies[index])]
        arrays[f"energy_{'-'.join(pairs[index])}"] = [float(energy) for energy in known - known[0]]
    return worst.result(calls, {"examples": len(pairs)}, arrays)


def wall_height(energies: NDArray[np.float64]) -> float:
    """How far the energy of a pair rises above its well, eV, on the way in, before it falls into a hole.

    Shape (n_distances,), from the outside in; NaN where it was not needed.
    """
    known = energies[~np.isnan(energies)]
    too_deep = np.flatnonzero(known < known[0] - BOND_EV)
    known = known[: too_deep[0] if too_deep.size else None]
    well = int(np.argmin(known[:WELL]))
    inner = known[well:] - known[well]
    holes = np.flatnonzero(inner < -HOLE_EV)
    return float(inner[: holes[0] if holes.size else None].max())


def _pairs(elements: list[str], of_case: list[str], most: int) -> list[tuple[str, str]]:
    """Pairs of elements: all, if they are not too many; else those of the case, equal ones, and some others."""
    every = list(combinations_with_replacement(elements, 2))
    if len(every) <= most:
        return every
    first = [*combinations_with_replacement(of_case, 2), *((e, e) for e in elements)]
    others = (every[index] for index in np.random.default_rng(0).permutation(len(every)))
    return sorted(list(dict.fromkeys([*first, *others]))[:most])


def _dimer(pair: tuple[str, str], part: float, told: Mapping[str, Any]) -> Atoms:
    atoms = made(pair, cell=[BOX_A] * 3, info=told)
    atoms.positions[1, 0] = part * covalent_radii[atoms.numbers].sum()
    atoms.positions += BOX_A / 2
    return atoms


def _name(atoms: Atoms) -> str:
    return f"{'-'.join(atoms.get_chemical_symbols())} at {atoms.get_distance(0, 1):.2f} A"


def _shown(pair: tuple[str, str], energies: NDArray[np.float64], told: Mapping[str, Any]) -> Shown:
    frames = tuple(_dimer(pair, part, told) for part in DISTANCES)
    rise, fall = wall_height(energies), np.nanmin(energies) - energies[0]
    says = f"{pair[0]}-{pair[1]}, with a wall of {rise:.2f} eV; its lowest energy is {fall:+.2f} eV from that at "
    return Shown(frames, says + f"{DISTANCES[0]} of the covalent radii")
