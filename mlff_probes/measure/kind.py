"""What a kind of measurement consists of: its protocol, how it is measured, how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate_with_stress
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.progress import Paced, Report, silent, unheard
from mlff_probes.core.protocol import BaseProtocol
from mlff_probes.core.records import Measurement
from mlff_probes.core.view import FigureView
from mlff_probes.measure.committee import with_spread
from mlff_probes.measure.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure


@dataclass(frozen=True)
class Conditions:
    """Under which a measurement is made.

    Attributes
    ----------
    report
        Told of the steps of what takes long.
    store
        The directory where trajectories are kept and looked for; None to keep none.
    shared
        Why the machine is not ours alone, so that nothing is timed; empty where it is.
    paced
        Told what a call takes in a simulation of a calculator that evaluates one structure a call.
    """

    report: Report = silent
    store: Path | None = None
    shared: str = ""
    paced: Paced = unheard


QUIET = Conditions()
"""Nobody watches, nothing is kept, and the machine is ours."""

Measure = Callable[[Calculator, Case[Any], Conditions], Result]
"""Measure all quantities of a case. Raises `EvaluationError` where the calculator fails."""

WorkUp = Callable[[Case[Any], Evaluation], Result]
"""From energies and forces of a case's frames to its quantities."""


def nothing_more(_: Case[Any]) -> list[Atoms]:
    """No frames besides those of the case."""
    return []


@dataclass(frozen=True)
class OnFrames:
    """A measurement on the frames of a case, which are evaluated together: `work_up` makes its quantities of them.

    `more` gives frames that are evaluated after those of the case, which no reference needs.
    """

    work_up: WorkUp
    more: Callable[[Case[Any]], list[Atoms]] = nothing_more

    def __call__(self, calculator: Calculator, case: Case[Any], _: Conditions) -> Result:
        """Evaluate the frames, and work them up."""
        forces = case.protocol.uses_forces and calculator.supplies("forces")
        frames = [*case.frames, *self.more(case)]
        stressed = np.zeros(len(frames), dtype=bool)
        if case.stored is not None and case.protocol.uses_stress(case.quantities) and calculator.supplies("stress"):
            stressed[: len(case.frames)] = case.stored.stressed
        evaluation = evaluate_with_stress(calculator, frames, stressed, forces=forces)
        found = self.work_up(case, evaluation)
        members = [self.work_up(case, each) for each in evaluation.members]
        return with_spread(found, members) if members else found

    def reference(self, case: Case[Any], _: Sequence[str]) -> Result | None:
        """Work up the energies and forces that are stored with the frames; None without any."""
        return None if case.stored is None else self.work_up(case, case.stored)


@dataclass(frozen=True)
class Later:
    """A function of this package, "MODULE:NAME", that is imported when it is first called.

    What draws random structures, relaxes or simulates brings hypothesis and scipy's optimizers along, for which no
    start of a run, and no process that measures something else, should wait.
    """

    place: str

    def __call__(self, *given: Any) -> Any:
        """What the function gives."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(f"{__package__}.{module}"), name)(*given)


@dataclass(frozen=True)
class Drawing:
    """How a case is drawn.

    Attributes
    ----------
    draw
        Fills a figure with what a view shows.
    size
        Width and height in inches, from the number of calculators.
    needs_a_model
        Whether a reference alone is worth no picture.
    """

    draw: Callable[[SubFigure, FigureView], None]
    size: Callable[[int], tuple[float, float]]
    needs_a_model: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of measurement, a row of the table of kinds (`mlff_probes.measure.KINDS`).

    Attributes
    ----------
    protocol
        What a case file states under `[protocol]`; it names kind, family and quantities.
    measure
        From a calculator and a case to a result.
    drawing
        None where there is nothing to look at.
    compared_with
        The quantities that are asked for, from what the case is compared with; None where that is nothing but what
        `measure` makes of stored energies and forces, if it is an `OnFrames`.
    alone
        The curves of what a case is compared with, as those of a model, for a picture without any; None where the
        reference has none.
    """

    protocol: type[BaseProtocol]
    measure: Measure
    drawing: Drawing | None = None
    compared_with: Callable[[Case[Any], Sequence[str]], Result | None] | None = None
    alone: Callable[[Case[Any]], Measurement | None] | None = None

    @property
    def name(self) -> str:
        """The value of `kind` in a case file."""
        value: str = self.protocol.model_fields["kind"].annotation.__args__[0]  # type: ignore[union-attr]
        return value

    def reference(self, case: Case[Any], wanted: Sequence[str]) -> Result | None:
        """What the reference of a case yields; None where it has none."""
        if self.compared_with is not None:
            return self.compared_with(case, wanted)
        return self.measure.reference(case, wanted) if isinstance(self.measure, OnFrames) else None
