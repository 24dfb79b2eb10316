"""Forces and stress against finite differences of the energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from ase.units import GPa
from hypothesis import strategies as st

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.errors import EvaluationError
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.structures import derived
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.laws.examples import (
    MILLI,
    Floats,
    Shown,
    Worst,
    formula,
    no_structures,
    resolution,
)
from mlff_probes.measure.laws.precision import seen_dtype
from mlff_probes.measure.laws.protocols import Derivatives
from mlff_probes.measure.laws.tried import tried_structures, without_refused
from mlff_probes.measure.results import Result
from mlff_probes.methods.random_structures import directions, strains

STEPS = {"float32": 2.0 ** -np.arange(7.0), "float64": 4.0 ** -np.arange(5.0)}
"""Steps of the finite differences as parts of the largest one: down to where a structure is between two kinks of its
energy, or to where rounding forbids more."""


LEAST_STRAIN = 1e-3
"""Of a strain of Frobenius norm 1, less than this in the periodic directions is none of them."""


@dataclass(frozen=True)
class Kind:
    """How one of the two laws is tried.

    Attributes
    ----------
    law, says
        The quantity, and what is differentiated.
    largest_step
        In A along a displacement of length 1, or the size of a strain of Frobenius norm 1.
    fine
        Steps at which rounding alone may move the derivative by more are left out, but for the two largest.
    coarse
        Examples whose derivative is not known to this are unresolved, by the precision of the energies.
    """

    law: str
    says: str
    largest_step: float
    fine: float
    coarse: dict[str, float]


FORCE = Kind("force_consistency", "dE/ds", 0.04, 5.0, {"float32": 25.0, "float64": 0.5})  # meV/A
STRESS = Kind("stress_consistency", "dE/ds / V", 0.008, 0.005, {"float32": 0.1, "float64": 5e-4})  # GPa


@dataclass(frozen=True)
class Slope:
    """A derivative by central differences with a step study: its value, and how well it is known."""

    value: float
    uncertainty: float


def extrapolated(steps: Floats, energies: Floats) -> Slope:
    """Central differences at falling steps, extrapolated to step zero.

    `steps` has the shape (n,), each the same part of the one before, `energies` (n, 2): at minus and plus each step.
    Of all extrapolations the one is taken that differs least from those it came from (Ridders, Advances in
    Engineering Software 4, 75 (1982)): larger steps bend, smaller ones round. The uncertainty is that difference, or
    the largest one to the three smallest steps: on a rough curve two numbers may agree by chance, five hardly do.
    """
    row = central = (energies[:, 1] - energies[:, 0]) / (2 * steps)
    best = Slope(float(row[0]), np.inf)
    for order in range(1, len(steps)):
        factor = (steps[0] / steps[1]) ** (2 * order)
        following = (factor * row[1:] - row[:-1]) / (factor - 1)
        for value, coarse, fine in zip(following, row[:-1], row[1:], strict=True):
            uncertainty = max(abs(value - coarse), abs(value - fine))
            if uncertainty < best.uncertainty:
                best = Slope(float(value), float(uncertainty))
        row = following
    return Slope(best.value, max(best.uncertainty, float(np.abs(best.value - central[-3:]).max())))


def resolved(kind: Kind, steps: Floats, energies: Floats, *, scale: float, dtype: str) -> Slope | None:
    """The derivative in the unit of `kind`, rounding counted among its uncertainty; None where it is not known.

    `scale` takes eV per unit of step to that unit, `dtype` is the precision of the energies.
    """
    rounding = resolution(dtype) * float(np.abs(energies).max()) * scale / steps
    used = np.maximum(2, np.count_nonzero(rounding <= kind.fine))
    slope = extrapolated(steps[:used], energies[:used])
    uncertainty = slope.uncertainty * scale + rounding[used - 1]
    return Slope(slope.value * scale, uncertainty) if uncertainty <= kind.coarse[dtype] else None


@dataclass(frozen=True)
class Example:
    """A structure with a displacement of its atoms, shape (n_atoms, 3), and a strain, shape (3, 3), of length 1."""

    atoms: Atoms
    direction: Floats
    strain: Floats

    def displaced(self, step: float) -> Atoms:
        """The atoms moved by `step` A along the direction."""
        return derived(self.atoms, positions=self.atoms.positions + step * self.direction)

    def strained(self, step: float) -> Atoms:
        """Cell and atoms deformed by `step` times the strain."""
        return derived(self.atoms, cell=self.atoms.cell.array @ (np.eye(3) + step * self.strain), scale_atoms=True)

    def show(self, kind: Kind, says: str) -> Shown:
        """The structure with its direction or strain."""
        frame = derived(self.atoms)
        if kind is FORCE:
            frame.set_array("direction", self.direction)
        else:
            frame.info["strain"] = self.strain
        return Shown((frame,), f"{formula(frame)}, {says}")


def derivatives(calculator: Calculator, case: Case[Derivatives], conditions: Conditions = QUIET) -> Result:
    """Compare forces and stress with what the energy says.

    - `force_consistency`: ``|F.d + dE/ds|`` along displacements s d of one atom or of all, d of length 1, meV/A;
    - `stress_consistency`: ``|sigma:e - (dE/ds) / V|`` for homogeneous strains s e of cell and atoms, e symmetric
      with Frobenius norm 1, GPa; of a slab or a wire e lies in its periodic directions; V is the volume of the cell,

    each the maximum over all examples of what is left after the uncertainty of the derivative, which comes from
    central differences with a step study (`extrapolated`). A jump or a kink between two steps is uncertainty, and the
    business of the smoothness; where more than a quarter of the derivatives stay unknown, the law is unresolved.
    """
    worst, calls = Worst(case.protocol.units(case.frames)), Calls()
    tried = tried_structures(calculator, case, worst)
    if tried is None:
        return no_structures(worst, calculator, case)
    every = tried.examples(case.protocol.examples, _lines, _atoms)
    examples = without_refused(calculator, every, worst, calls, atoms=_atoms)
    conditions.report(f"{len(examples)} structures, displaced and strained")
    frames = [example.atoms for example in examples]
    found = calls.add(evaluate(calculator, frames, forces=calculator.supplies("forces"), name=partial(_name, examples)))
    dtype = seen_dtype(calculator, found)
    trial = _Trial(calculator, worst, calls, "float32" if dtype == "float32" else "float64")
    if found.forces is None:
        worst.without_forces()
    else:
        trial.forces(examples, found.forces)
    trial.stresses(examples)
    diagnostics = {"dtype": dtype, "examples": len(examples), "unresolved": trial.unresolved}
    return worst.result(calls, diagnostics, trial.uncertainties)


def _lines(structures: st.SearchStrategy[Atoms]) -> st.SearchStrategy[Example]:
    return structures.flatmap(lambda atoms: st.builds(Example, st.just(atoms), directions(len(atoms)), strains()))


def _atoms(example: Example) -> Atoms:
    return example.atoms


def in_periodic_directions(example: Example) -> Example | None:
    """The example with its strain in the directions alone in which the structure is periodic; None where there is none.

    With P the projector on the periodic cell vectors it is P e P, scaled to Frobenius norm 1.
    """
    cell, pbc = example.atoms.cell, example.atoms.pbc
    if cell.rank < 3 or not pbc.any():
        return None
    axes = np.linalg.qr(cell.array[pbc].T)[0]
    projector = axes @ axes.T
    strain = projector @ example.strain @ projector
    if np.linalg.norm(strain) < LEAST_STRAIN:
        strain = projector
    return replace(example, strain=strain / np.linalg.norm(strain))


@dataclass
class _Trial:
    """One law after the other on the same examples."""

    calculator: Calculator
    worst: Worst
    calls: Calls
    dtype: str
    uncertainties: dict[str, list[float]] = field(default_factory=dict)
    unresolved: dict[str, int] = field(default_factory=dict)

    def forces(self, examples: list[Example], forces: Sequence[Floats]) -> None:
        analytic = [-float((f * e.direction).sum()) * MILLI for e, f in zip(examples, forces, strict=True)]
        self._compare(FORCE, examples, [e.displaced for e in examples], [MILLI] * len(examples), analytic)

    def stresses(self, every: list[Example]) -> None:
        """Compare the stresses of structures in a cell with a volume, for strains of their periodic directions."""
        found = [in_periodic_directions(example) for example in every]
        examples = [example for example in found if example is not None]
        self.worst.leave_out("not periodic, or in no cell", len(every) - len(examples), quantities=[STRESS.law])
        stresses, reason = None, "it needs a structure that is periodic"
        if examples:
            examples, stresses = self._analytic_stresses(examples)
            reason = "the calculator implements no stress"
        if stresses is None:
            self.worst.without(STRESS.law, reason, applicable=False)
            return
        analytic = [
            float((voigt_6_to_full_3x3_stress(voigt) * e.strain).sum()) / GPa
            for e, voigt in zip(examples, stresses, strict=True)
        ]
        scales = [1 / e.atoms.get_volume() / GPa for e in examples]
        self._compare(STRESS, examples, [e.strained for e in examples], scales, analytic)

    def _analytic_stresses(self, every: list[Example]) -> tuple[list[Example], Floats | None]:
        """The examples that have a stress, and that, shape (n_examples, 6), eV/A^3; None if the model has none."""
        if not self.calculator.supplies("stress"):
            return every, None
        try:
            examples = without_refused(
                self.calculator, every, self.worst, self.calls, atoms=_atoms, stress=True, quantities=[STRESS.law]
            )
            frames = [example.atoms for example in examples]
            found = evaluate(self.calculator, frames, forces=False, stress=True, name=partial(_name, examples))
        except EvaluationError as error:
            if isinstance(error.__cause__, NotImplementedError):
                return every, None
            raise
        return examples, self.calls.add(found).stresses

    def _compare(
        self,
        kind: Kind,
        examples: list[Example],
        deformed: list[Callable[[float], Atoms]],
        scales: list[float],
        analytic: list[float],
    ) -> None:
        steps = kind.largest_step * STEPS[self.dtype]
        energies = self._energies(examples, deformed, steps)
        known, unit = self.uncertainties.setdefault(f"{kind.law}_uncertainty", []), self.worst.units[kind.law]
        for example, rows, scale, said in zip(examples, energies, scales, analytic, strict=True):
            slope = resolved(kind, steps, rows, scale=scale, dtype=self.dtype)
            if slope is None:
                continue
            known.append(slope.uncertainty)
            says = f"{kind.says} {slope.value:.6g} +- {slope.uncertainty:.2g}, the model says {said:.6g} {unit}"
            deviation = max(0.0, abs(slope.value - said) - slope.uncertainty)
            self.worst.add(kind.law, deviation, partial(example.show, kind, says), structure=example.atoms)
        unresolved = self.unresolved[kind.law] = len(examples) - len(known)
        self.worst.leave_out("unresolved", unresolved, quantities=[kind.law], by_nature=False)
        if unresolved * 4 > len(examples):
            self.worst.without(
                kind.law,
                f"unresolved: the derivative of {unresolved} of {len(examples)} energies, of up to "
                f"{np.abs(energies).max():.3g} eV in {self.dtype}, cannot be known to {kind.coarse[self.dtype]:g} "
                f"{unit}: they are too rough or too coarse; see the smoothness, or judge the model in float64",
            )
            return
        self.worst.remarks[kind.law] = _remark(known, unit, unresolved)

    def _energies(self, examples: list[Example], deformed: list[Callable[[float], Atoms]], steps: Floats) -> Floats:
        """Energies of all examples at minus and plus each step, shape (n_examples, n_steps, 2), eV."""
        frames = [at(side * step) for at in deformed for step in steps for side in (-1, 1)]
        each = 2 * len(steps)
        found = evaluate(
            self.calculator, frames, forces=False, name=lambda row: _name(examples, row // each) + ", deformed"
        )
        return self.calls.add(found).energies.reshape(len(examples), len(steps), 2)


def _remark(known: list[float], unit: str, unresolved: int) -> str:
    """How well the derivatives are known, and how many stay unresolved."""
    remark = f"known to {np.median(known):.2g} {unit} in the median"
    return remark + (f", {unresolved} more unresolved" if unresolved else "")


def _name(examples: list[Example], index: int) -> str:
    return f"example {index}, {formula(examples[index].atoms)}"
