"""What all physical laws share: the structures they are tried on, and the worst of all examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_dict_to_str
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.protocol import SMALL_FORCE, STRESS
from mlff_probes.core.records import Samples, Value
from mlff_probes.measure.results import Result, missing, not_supplied
from mlff_probes.methods.random_structures import oddities

Floats = NDArray[np.float64]

MILLI = 1e3
"""eV -> meV."""

ROUNDINGS = 4.0
"""Units in the last place by which two energies may differ for no reason."""

KINDS = {"i": "I", "u": "I", "f": "R", "b": "L", "U": "S"}
"""How an extended XYZ file calls what numpy calls signed and unsigned integers, reals, truth values and words."""

WORST = "worst"
"""Under which the worst examples lie in the diagnostics of a measurement."""


@dataclass(frozen=True)
class Shown:
    """An example that can be looked at: its frames, and what was done to them in one sentence.

    `changes`: how a second calculator was asked for that was evaluated beside the first (`Calculator.fresh`), if any.
    """

    frames: tuple[Atoms, ...]
    says: str
    changes: Mapping[str, Any] | None = None


@dataclass
class Worst:
    """The deviation of every example from each law, and the example that deviates most.

    A shrinking search would report the smallest failure; a gate must know the largest. `what` the examples are called,
    in the plural; `tried` is their number, where more than one deviation comes of an example.
    """

    units: Mapping[str, str]
    what: str = "examples"
    tried: int | None = None
    deviations: dict[str, list[float]] = field(default_factory=dict)
    shows: dict[str, list[Callable[[], Shown]]] = field(default_factory=dict)
    reasons: dict[str, Value] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    no_samples: set[str] = field(default_factory=set)
    ordinary: dict[str, float] = field(default_factory=dict)

    def add(
        self, quantity: str, deviation: float, show: Callable[[], Shown], *, structure: Atoms | None = None
    ) -> None:
        """Record one example; `show` is called in the end, if it is the worst.

        Of a `structure` it is told apart whether its cell is an ordinary one: see `oddities`.
        """
        if structure is not None and not oddities(structure):
            self.ordinary[quantity] = max(self.ordinary.get(quantity, 0.0), float(deviation))
        self.deviations.setdefault(quantity, []).append(float(deviation))
        self.shows.setdefault(quantity, []).append(show)

    def without(self, quantity: str, reason: str, *, applicable: bool = True, by_nature: bool = False) -> None:
        """Say why a quantity has no value: an error, or, where the calculator has no such thing, not applicable.

        Examples that it had are forgotten. `by_nature`: nothing that is missing, see `Problem`.
        """
        self.deviations.pop(quantity, None)
        self.shows.pop(quantity, None)
        unit = self.units[quantity]
        self.reasons[quantity] = (
            missing(unit, reason) if applicable else not_supplied(unit, reason, by_nature=by_nature)
        )

    def leave_out(
        self, reason: str, number: int, *, quantities: Iterable[str] | None = None, by_nature: bool = True
    ) -> None:
        """Count examples on which nothing was tried (or not some quantities), and why; `by_nature`: see `Samples`."""
        if by_nature:
            self.no_samples.add(reason)
        for quantity in (self.units if quantities is None else quantities) if number else ():
            self.left_out.setdefault(quantity, Counter())[reason] += number

    def _samples(self, quantity: str, used: int) -> Samples | None:
        """What a quantity stands on; None where nothing was left out."""
        left_out = self.left_out.get(quantity)
        if not left_out:
            return None
        return Samples(
            used=used, of=used + left_out.total(), what=self.what, left_out=dict(left_out),
            by_nature=tuple(reason for reason in left_out if reason in self.no_samples),
        )  # fmt: skip

    def _remark(self, quantity: str, largest_of_all: float) -> str:
        """What is to be said of all examples, in brackets; "" where that is nothing."""
        said = [self.remarks[quantity]] if quantity in self.remarks else []
        if self.ordinary.get(quantity, largest_of_all) < largest_of_all:
            most = f"{self.ordinary[quantity]:.2g} {self.units[quantity]}"
            said.append(f"at most {most} in right-handed cells periodic in all directions")
        return f" ({', '.join(said)})" if said else ""

    def without_any(self, what: str, reason: str, *, applicable: bool = True, by_nature: bool = False) -> None:
        """Say it of all quantities of one comparison: ``<what>_energy``, ``<what>_force`` and so on."""
        for quantity in self.units:
            if quantity.rpartition("_")[0] == what:
                self.without(quantity, reason, applicable=applicable, by_nature=by_nature)

    def without_forces(self) -> None:
        """Say of all that needs forces that there are none."""
        self._without_unit(SMALL_FORCE, "the calculator implements no forces")

    def without_stress(self, reason: str) -> None:
        """Say of all that needs a stress why there is none."""
        self._without_unit(STRESS, reason)

    def _without_unit(self, unit: str, reason: str) -> None:
        for quantity in [quantity for quantity, its in self.units.items() if its == unit]:
            self.without(quantity, reason, applicable=False)

    def result(
        self,
        calls: Calls,
        diagnostics: Mapping[str, Any] | None = None,
        arrays: Mapping[str, list[Any]] | None = None,
    ) -> Result:
        """The largest deviation of each quantity; what has no example is an error, or has the reason it was given.

        All deviations go among the `arrays`, the worst examples among the `diagnostics`.
        """
        values, worst = {}, {}
        for quantity, unit in self.units.items():
            deviations = self.deviations.get(quantity)
            if not deviations:
                values[quantity] = self.reasons.get(quantity, missing(unit, "no example could be made"))
                continue
            largest_of_all = max(deviations)
            shown = self.shows[quantity][deviations.index(largest_of_all)]()
            remark = self._remark(quantity, largest_of_all)
            tried = self.tried or len(deviations)
            note = f"worst of {tried:,} {self.what}{remark}: {shown.says}"
            samples = self._samples(quantity, tried)
            values[quantity] = Value(value=largest_of_all, unit=unit, note=note, samples=samples)
            frames = as_extxyz(shown.frames)
            worst[quantity] = {"value": largest_of_all, "unit": unit, "says": shown.says, "extxyz": frames}
            if shown.changes is not None:
                worst[quantity]["changes"] = dict(shown.changes)
        found = {**self.deviations, **(arrays or {})}
        return Result(values, found, calls.evaluation(), {**(diagnostics or {}), WORST: worst})


def no_structures(worst: Worst, calculator: Calculator, case: Case) -> Result:
    """The result where there is nothing to try a law on."""
    unknown = calculator.unknown_elements(case.elements)
    reason = "there is nothing to try it on: no structures are given and no elements are known"
    if unknown:
        reason = f"{calculator.label} does not know {', '.join(unknown)}"
    for quantity in worst.units:
        worst.without(quantity, reason, applicable=not unknown)
    return worst.result(Calls())


def resolution(dtype: str) -> float:
    """Relative spacing of the numbers of a precision (float64 where none is known)."""
    return float(np.finfo(np.float32 if dtype == "float32" else np.float64).eps)


def beyond_rounding(one: float, other: float, dtype: str) -> float:
    """By how much two energies differ more than rounding explains, in their unit.

    A sum of a few hundred numbers is good to some units in the last place of its largest; a model whose energies are
    those of whole atoms (thousands of eV) rounds accordingly.
    """
    return max(0.0, abs(one - other) - ROUNDINGS * resolution(dtype) * max(abs(one), abs(other)))


def largest(vectors: Floats) -> float:
    """The longest of some vectors, shape (n, 3); 0 for none."""
    return float(np.linalg.norm(vectors, axis=-1).max(initial=0.0))


def as_extxyz(frames: Iterable[Atoms]) -> str:
    """Frames as the text of an extended XYZ file, with all digits: ASE's own writer rounds positions to eight."""
    out: list[str] = []
    for atoms in frames:
        arrays = {name: array for name, array in atoms.arrays.items() if name not in ("numbers", "positions")}
        columns = {name: a.reshape(len(atoms), -1) for name, a in {"pos": atoms.positions, **arrays}.items()}
        properties = ":".join(f"{name}:{KINDS[array.dtype.kind]}:{array.shape[1]}" for name, array in columns.items())
        info = key_val_dict_to_str({"Lattice": atoms.cell.array.ravel(), **atoms.info, "pbc": atoms.pbc})
        out += [str(len(atoms)), f"Properties=species:S:1:{properties} {info}"]
        for row, symbol in enumerate(atoms.get_chemical_symbols()):
            said = (each for array in columns.values() for each in array[row].tolist())
            out.append(" ".join([symbol, *map(_column, said)]))
    return "\n".join(out) + "\n"


def _column(said: Any) -> str:
    return str(said)[0] if isinstance(said, bool) else str(said)


def formula(atoms: Atoms) -> str:
    """The formula of a structure, and what is unusual about its cell, as messages name it."""
    return ", ".join([str(atoms.get_chemical_formula()), *oddities(atoms)])
