"""Energy and force along a line, on which neighbours enter and leave the cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from hypothesis import strategies as st

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.records import as_lists
from mlff_probes.core.structures import derived, made, settings
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.laws.examples import (
    MILLI,
    ROUNDINGS,
    Floats,
    Shown,
    Worst,
    formula,
    no_structures,
    resolution,
)
from mlff_probes.measure.laws.precision import seen_dtype
from mlff_probes.measure.laws.protocols import Smoothness
from mlff_probes.measure.laws.tried import tried_elements, tried_structures, without_refused
from mlff_probes.measure.results import Result
from mlff_probes.methods.random_structures import SHORTEST_A, directions, drawn

APART_TO_A, APART_STEP_A = 10.0, 0.05
"""How far two pairs of atoms are drawn apart, and in which steps, A: beyond the cutoff of nearly all models."""

SWING_A, SWING_STEP_A = 0.4, 0.02
"""How far the atoms of a structure swing to either side, and in which steps, A."""

BOX_A = 40.0
"""Edge of the periodic cell around two pairs of atoms."""

SEGMENT = 10
"""Length of a stretch of a line, in intervals; the two most suspicious intervals of each are looked at closely."""

SUSPECT_STEP_A, FINAL_STEP_A = 4e-3, 1e-4
"""An interval is quartered until it is shorter than the first, A, and the worst of all on to the second: there
a smooth curve has nothing left to change by, and a jump all of its height."""

KEPT = 20
"""So many of each kind are quartered to the end."""


@dataclass(frozen=True)
class Line:
    """A structure whose atoms move by ``s * field``, s from `start` to `stop` in steps of `step` A."""

    atoms: Atoms
    field: Floats
    start: float
    stop: float
    step: float
    says: str

    def at(self, s: float) -> Atoms:
        """The structure at `s`."""
        return derived(self.atoms, positions=self.atoms.positions + s * self.field)

    @property
    def points(self) -> Floats:
        """Equidistant points."""
        return np.linspace(self.start, self.stop, round((self.stop - self.start) / self.step) + 1)


@dataclass(frozen=True)
class Stretch:
    """A line at some points in a row.

    Attributes
    ----------
    line
        The line.
    s
        Places on it, A, ascending, shape (n,).
    energies
        There, eV, shape (n,).
    forces
        Along the line, -dE/ds, eV/A, shape (n,).
    """

    line: Line
    s: Floats
    energies: Floats
    forces: Floats

    @property
    def energy_gaps(self) -> Floats:
        """By how much the energy changes more than the forces say, eV, shape (n - 1,); w^3 f''/12 where f is smooth."""
        work = np.diff(self.s) * (self.forces[:-1] + self.forces[1:]) / 2
        gaps: Floats = np.abs(np.diff(self.energies) + work)
        return gaps

    @property
    def force_gaps(self) -> Floats:
        """By how much the force changes more than in the intervals on either side, eV/A, shape (n - 1,)."""
        changes = np.diff(self.forces)
        beside = np.concatenate([[changes[1]], (changes[:-2] + changes[2:]) / 2, [changes[-2]]])
        gaps: Floats = np.abs(changes - beside)
        return gaps

    def part(self, index: int) -> Stretch:
        """One interval."""
        rows = slice(index, index + 2)
        return Stretch(self.line, self.s[rows], self.energies[rows], self.forces[rows])

    def between(self, ends: Stretch) -> Stretch:
        """The stretch with one more point at each end."""
        s, energies, forces = (
            np.concatenate([outer[:1], inner, outer[1:]])
            for outer, inner in ((ends.s, self.s), (ends.energies, self.energies), (ends.forces, self.forces))
        )
        return Stretch(self.line, s, energies, forces)


@dataclass
class Look:
    """What a calculator says of lines at given places; it learns the precision of its numbers as it goes."""

    calculator: Calculator
    calls: Calls
    dtype: str = ""

    def __call__(self, wanted: list[tuple[Line, Floats]]) -> list[Stretch]:
        """From lines and places on each, A, to stretches."""
        frames = [line.at(s) for line, places in wanted for s in places]
        names = [f"{line.says}, at {s:.4f} A" for line, places in wanted for s in places]
        found = self.calls.add(evaluate(self.calculator, frames, name=names.__getitem__))
        assert found.forces is not None
        self.dtype = self.dtype or seen_dtype(self.calculator, found)
        stretches, start = [], 0
        for line, places in wanted:
            rows = slice(start, start + len(places))
            along = np.array([(forces * line.field).sum() for forces in found.forces[rows]])
            stretches.append(Stretch(line, places, found.energies[rows], along))
            start += len(places)
        return stretches


@dataclass(frozen=True)
class Suspect:
    """An interval that may hold a jump, of the energy or (`of_force`) of the force."""

    interval: Stretch
    of_force: bool

    def worst(self, finer: Stretch) -> Suspect:
        """The part of this interval, at more points, that looks worst."""
        if not self.of_force:
            return Suspect(finer.part(int(np.argmax(finer.energy_gaps))), of_force=False)
        changes = np.diff(finer.forces)
        return Suspect(finer.part(int(np.argmax(np.abs(changes - np.median(changes))))), of_force=True)


def smoothness(calculator: Calculator, case: Case[Smoothness], conditions: Conditions = QUIET) -> Result:
    """Look for jumps of energy and force along lines.

    The lines: two pairs of atoms drawn apart, for all pairs of elements of the case and some others, and atoms of
    a structure that swing. Where the energy changes more than the forces say, or the force more than beside, the
    interval is quartered until only a jump is left; of the last two intervals the smaller value counts, since a
    jump is as high in both and what is left of a curve is not:

    - `energy_jump`: ``|E(b) - E(a) + (b - a) (f(a) + f(b)) / 2|``, less the same of one of the intervals on either side
      (the smaller: forces that are no derivative are no jump), and less what rounding explains, meV;
    - `force_jump`: ``|f(b) - f(a) - (f(a) - f(a - h) + f(b + h) - f(b)) / 2|`` with h = b - a, meV/A,

    f the force along the line, a displacement of length 1 A a unit of it, each the maximum over all lines.
    """
    worst, calls = Worst(case.protocol.units(case.frames)), Calls()
    if not calculator.supplies("forces"):
        for quantity in worst.units:
            worst.without(quantity, "the calculator implements no forces", applicable=False)
        return worst.result(calls)
    every = _lines(calculator, case, worst)
    if not every:
        return no_structures(worst, calculator, case)
    lines = without_refused(calculator, every, worst, calls, atoms=lambda line: line.atoms)
    worst.what, worst.tried = "lines", len(lines)
    look = Look(calculator, calls)
    conditions.report(f"{len(lines)} lines, {sum(len(line.points) for line in lines)} points")
    stretches = look([(line, line.points) for line in lines])
    suspects = [suspect for stretch in stretches for suspect in _suspects(stretch)]
    conditions.report(f"{len(suspects)} intervals looked at closely")
    near = _quartered(look, suspects, SUSPECT_STEP_A)
    jumps = _jumps(look, near)  # shape (n_suspects, 2): of energy and of force
    kept = sorted({int(row) for column in jumps.T for row in np.argsort(-column)[:KEPT]})
    conditions.report(f"{len(kept)} intervals looked at most closely")
    nearest = _quartered(look, [near[row] for row in kept], FINAL_STEP_A)
    # a jump is as high in a part of its interval; what is left of a curve, however steep, is not
    heights_of_all = np.minimum(_jumps(look, nearest), _jumps(look, _quartered(look, nearest, FINAL_STEP_A / 4)))
    for suspect, heights in zip(nearest, heights_of_all, strict=True):
        for quantity, height in zip(worst.units, heights * MILLI, strict=True):
            says = f"by {height:.3g} {worst.units[quantity]}"
            worst.add(quantity, height, partial(_shown, suspect.interval, says))
    worst_line = nearest[int(np.argmax(heights_of_all[:, 1]))].interval
    (drawn_,) = (stretch for stretch in stretches if stretch.line is worst_line.line)
    arrays = as_lists({"place": drawn_.s, "energy": drawn_.energies, "force": drawn_.forces, "jump": worst_line.s[:1]})
    return worst.result(calls, {"dtype": look.dtype, "examples": len(lines), "line": drawn_.line.says}, arrays)


def _lines(calculator: Calculator, case: Case[Smoothness], worst: Worst) -> list[Line]:
    """As many lines as the case wants: pairs of elements drawn apart for one half, structures for the other."""
    elements = tried_elements(calculator, case)
    own = list(combinations_with_replacement(sorted(case.elements & set(elements)), 2))
    others = drawn(st.tuples(*[st.sampled_from(elements)] * 2), case.protocol.examples) if elements else []
    half = -(-case.protocol.examples // 2)
    pairs = list(dict.fromkeys([*own, *(tuple(sorted(pair)) for pair in others)]))[: max(half, len(own))]
    tried = tried_structures(calculator, case, worst)
    if tried is None:
        return []
    told = settings(case.frames)
    return [
        *(_apart(pair, told) for pair in pairs),
        *tried.examples(case.protocol.examples - half, _swings, lambda line: line.atoms),
    ]


def _swings(structures: st.SearchStrategy[Atoms]) -> st.SearchStrategy[Line]:
    return structures.flatmap(lambda atoms: st.builds(_swing, st.just(atoms), directions(len(atoms))))


def _apart(pair: tuple[str, str], told: dict[str, Any]) -> Line:
    """Two pairs of equal atoms, each at the distance of a bond, drawn apart: no atom is ever alone."""
    atoms = made(np.repeat(pair, 2), cell=[BOX_A] * 3, info=told)
    radii = [covalent_radii[atomic_numbers[symbol]] for symbol in pair]
    atoms.positions[[1, 3], 1] = np.maximum(2 * np.array(radii), SHORTEST_A)
    atoms.positions += BOX_A / 3
    field = np.zeros((4, 3))
    field[2:, 0] = 1.0
    says = f"{pair[0]}2 and {pair[1]}2 drawn apart"
    return Line(atoms, field, max(sum(radii), SHORTEST_A), APART_TO_A, APART_STEP_A, says)


def _swing(atoms: Atoms, direction: Floats) -> Line:
    moving = "an atom" if np.count_nonzero(direction.any(axis=1)) == 1 else "all atoms"
    return Line(atoms, direction, -SWING_A, SWING_A, SWING_STEP_A, f"{formula(atoms)}, {moving} moved")


def _suspects(stretch: Stretch) -> list[Suspect]:
    """The worst interval of each segment by its energies, and the worst by its forces."""
    found = []
    for of_force, gaps in ((False, stretch.energy_gaps), (True, stretch.force_gaps)):
        for start in range(0, len(gaps), SEGMENT):
            index = start + int(np.argmax(gaps[start : start + SEGMENT]))
            found.append(Suspect(stretch.part(index), of_force))
    return found


def _quartered(look: Look, suspects: list[Suspect], step: float) -> list[Suspect]:
    """The parts of some intervals that look worst, shorter than `step`."""
    found = list(suspects)
    while wide := [index for index, suspect in enumerate(found) if np.ptp(suspect.interval.s) > step]:
        places = [np.linspace(found[index].interval.s[0], found[index].interval.s[1], 5) for index in wide]
        inner = look([(found[i].interval.line, s[1:-1]) for i, s in zip(wide, places, strict=True)])
        for index, middle in zip(wide, inner, strict=True):
            ends = found[index].interval
            found[index] = found[index].worst(middle.between(ends))
    return found


def jumps(four: Stretch, dtype: str) -> tuple[float, float]:
    """The jumps of energy (eV) and force (eV/A) in the middle one of three intervals of equal length."""
    rounding = ROUNDINGS * resolution(dtype) * np.abs(four.energies).max()
    before, inside, after = four.energy_gaps
    changed = np.diff(four.forces)
    of_force = abs(changed[1] - (changed[0] + changed[2]) / 2)
    return max(0.0, float(inside - min(before, after) - rounding)), float(of_force)


def _jumps(look: Look, suspects: list[Suspect]) -> Floats:
    """The jumps of energy (eV) and force (eV/A) in the intervals of some suspects, shape (n_suspects, 2)."""
    intervals = [suspect.interval for suspect in suspects]
    beside = look([(i.line, np.array([2 * i.s[0] - i.s[1], 2 * i.s[1] - i.s[0]])) for i in intervals])
    found = []
    for interval, outer in zip(intervals, beside, strict=True):
        found.append(jumps(interval.between(outer), look.dtype))
    return np.array(found)


def _shown(interval: Stretch, says: str) -> Shown:
    line, (low, high) = interval.line, interval.s
    frames = [line.at(s) for s in (2 * low - high, low, high, 2 * high - low)]
    for frame in frames:
        frame.set_array("direction", line.field)
    return Shown(tuple(frames), f"{line.says}, {says} at {low:.4f} A")
