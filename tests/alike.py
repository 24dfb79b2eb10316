"""Who answers all that the sound calculator was asked for a simulation, or a band, just as that did fares just as that.

A simulation is a function of the answers it gets, and so is a band that relaxes. Half of the faults leave these alone
in half of the cases, to the last bit, and to ask for them once more takes a third of the time, or less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from sound import Sound

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.records import ProbeResult

Answers = list[tuple[float, np.ndarray | None]]


@dataclass(frozen=True)
class Simulated:
    """What was judged of the sound calculator in one case, and all that it was asked for that, in order."""

    rows: list[tuple[str, ProbeResult]]
    asked: list[tuple[list[Atoms], bool, Answers]]


def noting(calculator: Calculator, asked: list[Any]) -> Calculator:
    """The same calculator, which notes in `asked` what it answers in batches."""

    def batch(frames: Sequence[Atoms], forces: bool) -> Answers:
        answers = calculator.batch(frames, forces)
        asked.append(([frame.copy() for frame in frames], forces, answers))
        return answers

    return replace(calculator, batch=batch)


def alike(kind: type[Sound], calculator: Calculator, simulated: Simulated) -> bool:
    """Whether a calculator of this `kind` answers as the sound one did, and its atoms are moved as those were."""
    if kind.simulated is not Sound.simulated:
        return False
    return all(same(calculator.batch(frames, forces), answers) for frames, forces, answers in simulated.asked)


def same(found: Answers, answers: Answers) -> bool:
    """Whether energies and forces are the same, to the last bit."""
    return all(a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in zip(found, answers, strict=True))
