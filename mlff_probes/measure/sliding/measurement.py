"""One layer sliding over the next: at a fixed gap, with the gap relaxed, and pulled apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.protocol import CELL_ENERGY, FORCE, LENGTH
from mlff_probes.core.records import Value, as_lists
from mlff_probes.core.structures import derived
from mlff_probes.measure.results import Result, missing
from mlff_probes.measure.sliding.protocols import FixedGapSlide, RelaxedGapSlide, Slide, near_separation, registry_name
from mlff_probes.methods.analysis.curves import (
    NotBracketedError,
    OpenInterpolant,
    PeriodicInterpolant,
    energy_noise,
    has_top,
    spline_minimum,
)

Floats = NDArray[np.float64]

ATOP, FAULT = 1 / 3, 2 / 3
"""Registry of the stacking fault; tellurium sits atop tellurium at 1/3 (see `RelaxedGapSlide.registries`)."""

JOULE_PER_M2 = units.m**2 / units.J
"""eV/A^2 -> J/m^2."""

PER_EV = 1e3
"""eV -> meV."""

NO_TOP = "no top between the fault and the crystal: the higher of the two"

NOT_BRACKETED = (
    "not bracketed: no registry between the fault and the crystal lies above both by more than rounding, as one of the "
    "reference does, so that there is no bridge"
)

SAME = 1e-9
"""Registries that differ by less are one."""

DRAWN = 240
"""Points of the interpolant kept for drawing."""


def slide_vector(case: Case[Slide]) -> Floats:
    """The vector of one full period (u = 1) in A, shape (3,)."""
    vector: Floats = np.array([*case.protocol.slide_vector, 0]) @ case.frames[0].cell.array
    return vector


def periodic_images(case: Case[FixedGapSlide]) -> list[Atoms]:
    """The crystal at u = 1 of a fixed-gap slide: the same as u = 0, in a more skewed cell; none if it is not."""
    if not case.protocol.closes:
        return []
    cell = np.array(case.frames[0].cell.array)
    cell[2] += slide_vector(case)
    return [derived(case.frames[0], cell=cell)]


def fixed_gap_slide(case: Case[FixedGapSlide], evaluation: Evaluation) -> Result:
    """Work up one period of sliding at a fixed gap.

    With E(u) relative to u = 0 in eV per cell (one interface a cell), and one trigonometric interpolant
    through all registries for model and reference alike (a spline where the period does not close):

    - `atop_energy` E(1/3), `stacking_fault_energy` E(2/3);
    - `bridge_barrier` max of the interpolant on [2/3, 1]: the top of the way from the fault back to the
      crystal (the higher end, where there is no top in between; an error, `not bracketed`, where only the reference
      has one);
    - `max_lateral_force` max over u of |dE/ds|, s = u times the length of a period, in eV/A per cell;
    - `profile_mae` mean over all registries of |E(u) - E'(u)|;
    - `periodicity` E(1) - E(0), exactly zero, in a cell whose third vector is one period longer.
    """
    n = len(case.frames)
    area = case.protocol.interface_area(case.frames)
    slide = Sampled.of(case, evaluation.energies[:n])
    period = float(np.linalg.norm(slide_vector(case)))
    steepest = slide.curve.steepest() / period
    values = {
        "atop_energy": _per_cell(slide.at(ATOP), area),
        "stacking_fault_energy": _per_cell(slide.at(FAULT), area),
        "bridge_barrier": _bridge(case, slide, area),
        "max_lateral_force": Value(value=steepest, unit=FORCE, also={"meV/A^3": steepest / area * PER_EV}),
    }
    if len(evaluation.energies) > n:
        values["periodicity"] = _per_cell(evaluation.energies[n] - evaluation.energies[0], area)
    if case.stored is not None:
        reference = case.stored.energies[:n] - case.stored.energies[0]
        values["profile_mae"] = _per_cell(float(np.abs(slide.energies - reference).mean()), area)
    dense = np.linspace(0.0, 1.0, DRAWN + 1)
    arrays = {
        "slide": slide.registries,
        "energy": slide.energies,
        "slide_dense": dense,
        "energy_dense": slide.curve(dense),
        "lateral_force_dense": -slide.curve(dense, derivative=1) / period,
    }
    return Result(values, as_lists(arrays), evaluation, {"area_a2": area, "interfaces": 1})


@dataclass(frozen=True)
class Sampled:
    """E(u) of a fixed-gap slide: registries, energies relative to u = 0 (eV), their noise, the curve through them."""

    registries: Floats
    energies: Floats
    noise: float
    curve: PeriodicInterpolant | OpenInterpolant

    @classmethod
    def of(cls, case: Case[FixedGapSlide], energies: Floats) -> Sampled:
        """The curve of the total energies of the frames, eV."""
        relative = energies - energies[0]
        curve = (PeriodicInterpolant if case.protocol.closes else OpenInterpolant).through(relative)
        return cls(case.protocol.registries(len(energies)), relative, energy_noise(energies), curve)

    def at(self, registry: float) -> float:
        """The energy at a registry: as sampled, or else as the interpolant has it."""
        row = int(np.abs(self.registries - registry).argmin())
        return float(self.energies[row] if abs(self.registries[row] - registry) < SAME else self.curve(registry))

    @property
    def has_bridge(self) -> bool:
        """Whether a sample between the fault and the end of the period lies above both by more than rounding."""
        between = self.energies[(self.registries > FAULT + SAME) & (self.registries < 1 - SAME)]
        return has_top(np.array([self.at(FAULT), *between, float(self.curve(1.0))]), self.noise)


def _bridge(case: Case[FixedGapSlide], slide: Sampled, area: float) -> Value:
    """The top of the way from the fault back to the crystal."""
    stored = case.stored and Sampled.of(case, case.stored.energies[: len(slide.energies)])
    if not slide.has_bridge and stored and stored.has_bridge:
        return missing(CELL_ENERGY, NOT_BRACKETED)
    return _per_cell(slide.curve.maximum(FAULT, 1.0)[1], area, caveat="" if slide.has_bridge else NO_TOP)


def relaxed_gap_slide(case: Case[RelaxedGapSlide], evaluation: Evaluation) -> Result:
    """Work up E(gap) at the crystal's stacking and, where the frames show them, atop and at the fault.

    The minimum at each registry is that of the not-a-knot cubic spline through all sampled gaps. Where no sample on
    one side lies above the lowest by more than rounding, it is an error, `not bracketed`, and never a value. Energies
    in eV per cell (one interface a cell), gaps in A:

    - `equilibrium_gap`, `equilibrium_gap_atop`, `equilibrium_gap_fault` the gap at each minimum;
    - `atop_energy`, `stacking_fault_energy` E_min(atop) and E_min(fault) minus E_min(crystal);
    - `binding_energy` E(widest gap) - E_min(crystal), at the crystal's stacking;
    - `binding_curve_mae` mean of |E(gap) - E'(gap)| there, each curve relative to its own widest gap, over the gaps
      at which the reference rises no higher above separation than its minimum lies below: closer in, the wall would
      outweigh the way out.
    """
    area = case.protocol.interface_area(case.frames)
    curves = {name: _curve(case, evaluation, name) for name in case.protocol.sampled(case.frames)}
    minima: dict[str, tuple[float, float] | str] = {}
    for name, (gaps, energies) in curves.items():
        try:
            minima[name] = spline_minimum(gaps, energies, noise=energy_noise(energies))
        except NotBracketedError as error:
            minima[name] = f"not bracketed: of E(gap) at the '{name}' stacking {error} A"
    gaps, energies = curves["crystal"]
    values = {
        "equilibrium_gap": _gap(minima["crystal"]),
        "binding_energy": _depth(minima["crystal"], float(energies[-1]), area),
    }
    for name, quantity in (("atop", "atop_energy"), ("fault", "stacking_fault_energy")):
        if name in minima:
            values |= {quantity: _difference(minima, name, area), f"equilibrium_gap_{name}": _gap(minima[name])}
    if case.stored is not None:
        reference = _curve(case, case.stored, "crystal")[1]
        values["binding_curve_mae"] = _per_cell(_curve_error(energies, reference), area)
    zero = energies[-1]
    arrays = {
        f"{kind}_{name}": row
        for name, pair in curves.items()
        for kind, row in zip(("gap", "energy"), pair, strict=True)
    }
    arrays = {key: row - zero if key.startswith("energy") else row for key, row in arrays.items()}
    return Result(values, as_lists(arrays), evaluation, {"area_a2": area, "interfaces": 1})


def _curve_error(energies: Floats, reference: Floats) -> float:
    """Mean deviation of E(gap), each relative to its last gap, where the reference is not far up its wall."""
    over = reference - reference[-1]
    return float(np.abs(energies - energies[-1] - over)[near_separation(over)].mean())


def _curve(case: Case[RelaxedGapSlide], evaluation: Evaluation, name: str) -> tuple[Floats, Floats]:
    rows = [i for i, frame in enumerate(case.frames) if registry_name(frame.info["slide"]) == name]
    return np.array([float(case.frames[i].info["gap"]) for i in rows]), evaluation.energies[rows]


def _per_cell(energy: float, area: float, *, caveat: str = "") -> Value:
    also = {"meV/A^2": energy / area * PER_EV, "J/m^2": energy / area * JOULE_PER_M2}
    return Value(value=energy, unit=CELL_ENERGY, also=also, caveat=caveat)


def _difference(minima: dict[str, tuple[float, float] | str], name: str, area: float) -> Value:
    here, crystal = minima[name], minima["crystal"]
    for found in (here, crystal):
        if isinstance(found, str):
            return missing(CELL_ENERGY, found)
    return _per_cell(here[1] - crystal[1], area)  # type: ignore[operator]


def _gap(minimum: tuple[float, float] | str) -> Value:
    return missing(LENGTH, minimum) if isinstance(minimum, str) else Value(value=minimum[0], unit=LENGTH)


def _depth(minimum: tuple[float, float] | str, separated: float, area: float) -> Value:
    if isinstance(minimum, str):
        return missing(CELL_ENERGY, minimum)
    return _per_cell(separated - minimum[1], area)
