"""In which precision numbers were computed, whatever was said of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.records import NOT_STATED
from mlff_probes.core.structures import derived
from mlff_probes.measure.laws.examples import Worst
from mlff_probes.measure.laws.twins import nudged, one_by_one

Floats = NDArray[np.float64]

OTHER = {"float32": "float64", "float64": "float32"}
"""For each precision, the one that its numbers are compared with."""

NO_PRECISION = "the calculator does not say in which precision it computes"

SAME = "what says float32 and what says float64 agree in all digits: they compute in one and the same precision"

SEVERAL = 3
"""Fewer different numbers say nothing of the precision in which they were computed."""

HAIR_A = 1e-11
"""How far atoms are moved to see whether forces follow, A: a ten-thousandth of the spacing of float32 at 1 A, so that
what is cast to float32 on the way stays as it is, and ten thousand times that of float64."""

UNMOVED = 0.5
"""The share of the forces that stays the same in all digits where atoms move by `HAIR_A`: nearly all of them in
float32, none in float64."""


def seen_dtype(calculator: Calculator, evaluation: Evaluation) -> str:
    """The precision that the calculator states; where it states none, that of its numbers."""
    stated = calculator.identity.dtype
    if stated != NOT_STATED:
        return stated
    return "float32" if in_float32([evaluation]) else "float64"


def in_float32(evaluations: Sequence[Evaluation]) -> bool:
    """Whether numbers were computed in float32, whatever was said of them.

    Numbers of float32 are among those of float64, and a computation in float64 hits one in a billion of them: where all
    forces or all energies are such numbers, and several, float32 has been at work, whatever came after it.
    """
    energies = np.concatenate([one.energies for one in evaluations])
    forces = np.concatenate([*(array for one in evaluations for array in one.forces or ()), np.empty((0, 3))])
    return any(map(_all_float32, (energies, forces.ravel())))


def _all_float32(numbers: Floats) -> bool:
    return len(np.unique(numbers)) >= SEVERAL and np.array_equal(numbers, numbers.astype(np.float32))


def false_precision(
    calculator: Calculator, structures: Sequence[Atoms], found: Sequence[Evaluation], calls: Calls
) -> str:
    """How a calculator that states float64 is seen to compute more coarsely; empty where it does not.

    A factory that is asked for float64 and makes a model in float32 would be compared with itself, and agree. Its
    numbers are those of float32; or else, where they were converted in float64 (units, say), its forces do not follow
    where atoms move by less than float32 resolves. That takes three more calls.

    Parameters
    ----------
    structures, found
        What was evaluated, and what came of it, in one order.
    calls
        Where the calls are counted.

    Raises
    ------
    EvaluationError
        If the calculator fails.
    """
    if calculator.identity.dtype != "float64":
        return ""
    if in_float32(found):
        return "all its numbers are numbers of float32"
    pushed = (atoms for atoms, one in zip(structures, found, strict=True) if _tells(one))
    if (atoms := next(pushed, None)) is not None and _does_not_follow(calculator, atoms, calls):
        return f"its forces stay the same in all digits where atoms move by {HAIR_A:g} A"
    return ""


def _tells(evaluation: Evaluation) -> bool:
    """Whether the forces of a structure, which symmetry may cancel, are several different ones."""
    return evaluation.forces is not None and len(np.unique(np.abs(evaluation.forces[0]))) > SEVERAL


def _does_not_follow(calculator: Calculator, atoms: Atoms, calls: Calls) -> bool:
    """Whether the forces on `atoms` stay the same where these are moved by `HAIR_A`.

    Another structure comes in between, since a calculator may hand out what it holds.
    """
    off = np.random.default_rng(0).normal(scale=HAIR_A, size=atoms.positions.shape)
    moved = derived(atoms, positions=atoms.positions + off)
    found = one_by_one(calculator, [atoms, nudged(atoms), moved], forces=True, calls=calls)
    before, _, after = (one.forces[0] for one in found if one.forces is not None)
    acting = before != 0
    return bool((before == after)[acting].mean() > UNMOVED) if acting.any() else False


def alike(one: Sequence[Evaluation], other: Sequence[Evaluation]) -> bool:
    """Whether two evaluations are the same in all digits, and hold more than a few simple numbers."""
    first, second = (
        np.concatenate([array.ravel() for each in found for array in (each.energies, *(each.forces or ()))])
        for found in (one, other)
    )
    return np.array_equal(first, second) and len(np.unique(first)) >= SEVERAL


def says_so_falsely(worst: Worst, what: str, false: str) -> bool:
    """Whether the calculator itself states a `false_precision`; all quantities of `what` are then errors."""
    if false:
        remedy = "let its factory hand the precision on, or state float32"
        worst.without_any(
            what, f"it says that it computes in float64, but does so in float32 at best: {false}; {remedy}"
        )
    return bool(false)


def of_one_precision(worst: Worst, what: str, twin: str, *, same: bool) -> bool:
    """Whether there is no other precision to compare with; all quantities of `what` are then not applicable.

    Parameters
    ----------
    twin
        The `false_precision` of the calculator that was loaded again.
    same
        Whether one states float32, the other float64, and both are `alike`.
    """
    reason = f"what says that it computes in float64 computes in float32: {twin}" if twin else SAME if same else ""
    if reason:
        worst.without_any(what, reason, applicable=False)
    return bool(reason)
