"""The scorecard as data; every report is a reader of this record."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mlff_probes.core.case import BrokenCase, Case
from mlff_probes.core.levels import Level
from mlff_probes.core.records import (
    JUDGED,
    CalculatorIdentity,
    Context,
    Finite,
    Measurement,
    NonNegative,
    ProbeResult,
    Record,
    State,
    Text,
    Tier,
)
from mlff_probes.measure import FAMILIES
from mlff_probes.scorecard.changes import Comparison

if TYPE_CHECKING:
    from ase import Atoms

SCHEMA_VERSION: Literal[1] = 1

GRID_A = 1e-5
"""Structures are the same whose positions are the same on this grid."""

GRID_EV = 1e-6
"""References are the same if their energies (eV), forces (eV/A), stresses (eV/A^3) and curves agree on this grid."""

GRID_TRAJECTORY_A = 1e-3
"""Coarser, since the positions of a trajectory are unwrapped: no last digit may make it another one."""

OverallVerdict = Literal["passed", "failed", "nothing judged", "incomplete"]


FailOn = Literal["tolerance", "regression", "both"]


class RunOptions(Record):
    """The options that change what is judged and how."""

    tier: Tier
    strict: bool
    any_level_of_theory: bool
    tolerances: str | None = None
    references: tuple[str, ...] = ()
    known_failures: str | None = None
    timeout_s: NonNegative | None = None
    budget_s: NonNegative | None = None
    trust_checkpoint: bool = False
    sha256: tuple[str, ...] = ()
    require_device: str | None = None
    baseline: str | None = None
    fail_on: FailOn = "tolerance"
    seed: int = 0
    training_frames: tuple[str, ...] = ()


class TimeSummary(Record):
    """Where the time went, in seconds; under pytest-xdist summed over the workers.

    `measured_s` is the time pytest spent in the probes, from set-up to tear-down; `model_s` the part of
    it inside the models. Loading (imports included) comes before and is counted apart. `interrupted_s` is the part in
    measurements that were cut short: how much of it was inside the models, nobody knows.
    """

    load_s: NonNegative
    measured_s: NonNegative
    model_s: NonNegative
    model_calls: int
    batches: int
    interrupted_s: NonNegative = 0.0

    @property
    def outside_s(self) -> float:
        """Measured time that was not spent inside a model, as far as that is known."""
        return max(self.measured_s - self.model_s - self.interrupted_s, 0.0)


def fingerprint(frames: Iterable[Atoms]) -> str:
    """A hash of structures: of their elements, positions, cells and periodicity, to 1e-5 A."""
    found = hashlib.sha256()
    for frame in frames:
        numbers = (frame.numbers.astype("<i8"), frame.pbc.astype("u1"))
        lengths = [(array / GRID_A).round().astype("<i8") for array in (frame.positions, frame.cell.array)]
        for array in (*numbers, *lengths):
            found.update(array.tobytes())
    return found.hexdigest()[:16]


def reference_fingerprint(case: Case) -> str:
    """A hash of what a case is compared with: stored energies, forces and stresses, curves, a trajectory."""
    arrays: list[tuple[Any, float]] = []
    if case.stored is not None:
        arrays += [(found, GRID_EV) for found in (case.stored.energies, *(case.stored.forces or ()))]
        arrays += [(case.stored.stresses, GRID_EV)]
    if case.dynamics is not None:
        arrays += [(axis, GRID_EV) for _, curve in sorted(case.dynamics.curves.items()) for axis in curve]
        if case.dynamics.trajectory is not None:
            arrays += [(case.dynamics.trajectory.positions, GRID_TRAJECTORY_A)]
    found = hashlib.sha256()
    for array, grid in arrays:
        if array is not None:
            found.update((np.nan_to_num(np.asarray(array)) / grid).round().astype("<i8").tobytes())
    return found.hexdigest()[:16]


NONE_CORRECTED: Mapping[str, Iterable[Measurement]] = {}
"""No reference at a further level of theory."""


class CaseSummary(Record):
    """What a reader of the scorecard needs to know of a case, the reference curves included.

    `fingerprint` is that of its structures, `reference_fingerprint` that of the energies, forces and curves it is
    compared with; empty in scorecards that are older than these. `corrected` are its reference with terms of dispersion
    added, as calculators of the run were judged by it, each under the name of its level of theory.
    """

    id: Text
    family: Text
    title: Text
    material: str | None = None
    kind: Text
    level_of_theory: Level
    source: Text
    elements: tuple[str, ...]
    protocol: dict[str, Any]
    notes: tuple[str, ...] = ()
    context: tuple[Context, ...] = ()
    reference_arrays: dict[str, list[Any]] = Field(default_factory=dict)
    reference_diagnostics: dict[str, Any] = Field(default_factory=dict)
    fingerprint: str = ""
    reference_fingerprint: str = ""
    corrected: tuple[Measurement, ...] = ()

    @classmethod
    def of(cls, case: Case, corrected: Iterable[Measurement] = ()) -> CaseSummary:
        """Summarise `case`."""
        reference = case.reference
        return cls(
            id=case.id,
            family=case.family,
            title=case.title,
            material=case.material,
            kind=case.protocol.kind,
            level_of_theory=case.level_of_theory,
            source=case.source,
            elements=tuple(sorted(case.elements)),
            protocol=case.protocol.model_dump(mode="json"),
            notes=case.notes,
            context=case.context,
            reference_arrays=reference.arrays if reference else {},
            reference_diagnostics=reference.diagnostics if reference else {},
            fingerprint=fingerprint(case.frames),
            reference_fingerprint=reference_fingerprint(case),
            corrected=tuple(corrected),
        )


class Spread(Record):
    """Mean and spread of one quantity over replicate checkpoints: several files under one label.

    `standard_deviation` is that of a sample (n - 1), None below two measured values; `measured` counts the
    replicates that gave a value.
    """

    replicate_of: Text
    family: Text
    case: Text
    quantity: Text
    unit: Text
    replicates: int
    measured: int
    passed: int
    mean: Finite | None
    standard_deviation: Finite | None
    lowest: Finite | None
    highest: Finite | None
    reference: Finite | None

    @classmethod
    def over(cls, group: str, rows: list[ProbeResult]) -> Spread:
        """Summarise the results of one quantity, one row a replicate."""
        first = rows[0]
        values = [row.measured.value for row in rows if row.measured and row.measured.value is not None]
        unit = next((row.measured.unit for row in rows if row.measured), "-")
        return cls(
            replicate_of=group,
            family=first.family,
            case=first.case,
            quantity=first.quantity,
            unit=first.expectation.unit if first.expectation else unit,
            replicates=len(rows),
            measured=len(values),
            passed=sum(row.verdict.state is State.PASSED for row in rows),
            mean=statistics.fmean(values) if values else None,
            standard_deviation=statistics.stdev(values) if len(values) > 1 else None,
            lowest=min(values, default=None),
            highest=max(values, default=None),
            reference=first.expectation.value if first.expectation else None,
        )


class LeftOut(Record):
    """A measurement that was not begun, since it would not have ended within `--probe-budget`."""

    calculator: Text
    case: Text
    quantities: Annotated[int, Field(ge=1)]
    reason: Text


class Scorecard(Record):
    """Everything one run found out, in one record with a JSON round trip."""

    schema_version: Literal[1] = SCHEMA_VERSION
    created: Text
    verdict: OverallVerdict
    selected: int
    interrupted: str = ""
    options: RunOptions
    calculators: tuple[CalculatorIdentity, ...]
    cases: tuple[CaseSummary, ...]
    results: tuple[ProbeResult, ...]
    measurements: tuple[Measurement, ...]
    left_out: tuple[LeftOut, ...] = ()
    replicates: tuple[Spread, ...] = ()
    baseline: str | None = None
    comparisons: tuple[Comparison, ...] = ()
    time: TimeSummary

    @classmethod
    def build(
        cls,
        *,
        calculators: Iterable[CalculatorIdentity],
        cases: Iterable[Case | BrokenCase],
        results: Iterable[ProbeResult],
        measurements: Iterable[Measurement],
        options: RunOptions,
        selected: int,
        measured_s: float,
        interrupted: str = "",
        interrupted_s: float = 0.0,
        baseline: str | None = None,
        compared: Callable[[Scorecard], tuple[Comparison, ...]] = lambda _: (),
        corrected: Mapping[str, Iterable[Measurement]] = NONE_CORRECTED,
        left_out: Iterable[LeftOut] = (),
    ) -> Scorecard:
        """Assemble a scorecard: rows in a fixed order, comparisons, and the overall verdict.

        `baseline` is the calculator of the run that is measured to be compared with: its rows do not count. `compared`
        makes the comparisons of a scorecard. `corrected` are references at further levels of theory, by case.
        `left_out` are the measurements that a budget did not allow.
        """
        identities = tuple(calculators)
        all_cases = list(cases)
        position = {case.id: index for index, case in enumerate(all_cases)}
        label = {identity.label: index for index, identity in enumerate(identities)}
        quantity = {
            (case.id, name): index
            for case in all_cases
            if isinstance(case, Case)
            for index, name in enumerate(case.quantities)
        }
        rows = sorted(
            results,
            key=lambda r: (label[r.calculator], position[r.case], quantity.get((r.case, r.quantity), 0)),
        )
        made = sorted(measurements, key=lambda m: (label[m.calculator], position[m.case]))
        in_this_run = [measurement for measurement in made if not measurement.recalled]
        probed = {row.case for row in rows}
        card = cls(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            verdict="incomplete",
            selected=selected,
            interrupted=interrupted,
            options=options,
            calculators=identities,
            cases=tuple(
                CaseSummary.of(c, corrected.get(c.id, ())) for c in all_cases if isinstance(c, Case) and c.id in probed
            ),
            results=tuple(rows),
            measurements=tuple(made),
            left_out=tuple(sorted(left_out, key=lambda left: (label[left.calculator], position[left.case]))),
            replicates=_spreads(identities, rows),
            baseline=baseline,
            time=TimeSummary(
                load_s=sum(identity.load_s for identity in identities),
                measured_s=measured_s,
                model_s=sum(m.model_s for m in in_this_run),
                model_calls=sum(m.model_calls for m in in_this_run),
                batches=sum(m.batches for m in in_this_run),
                interrupted_s=interrupted_s,
            ),
        )
        card = card.model_copy(update={"comparisons": compared(card)})
        return card.model_copy(update={"verdict": card.judged()})

    def judged(self) -> OverallVerdict:
        """One word for the run, by what it is to fail on."""
        rows = [row for row in self.results if row.calculator != self.baseline]
        by_tolerance = overall_verdict(
            rows, strict=self.options.strict, incomplete=not self.complete, without=bool(self.left_out)
        )
        unseen = {left.calculator for left in self.left_out} - {row.calculator for row in rows}
        if unseen and by_tolerance == "passed":
            by_tolerance = "nothing judged"
        if self.options.fail_on == "tolerance":
            return by_tolerance
        if any(comparison.regressions for comparison in self.comparisons):
            return "failed"
        if self.options.fail_on == "both" and by_tolerance not in ("passed", "nothing judged"):
            return by_tolerance
        if not self.complete:
            return "incomplete"
        compared = self.comparisons and all(comparison.judged for comparison in self.comparisons)
        return "passed" if compared else "nothing judged"

    @property
    def complete(self) -> bool:
        """Whether every selected quantity has a verdict, or was left out for the sake of a budget."""
        left_out = sum(left.quantities for left in self.left_out)
        return not self.interrupted and len(self.results) + left_out >= self.selected

    def rows(self, calculator: str, family: str | None = None) -> list[ProbeResult]:
        """The rows of one calculator, or of one of its families."""
        return [r for r in self.results if r.calculator == calculator and family in (None, r.family)]

    def families(self, calculator: str) -> list[str]:
        """The families probed with one calculator, in the order of the suite."""
        found = {row.family for row in self.rows(calculator)}
        return [family for family in FAMILIES if family in found]

    @property
    def spreads(self) -> dict[str, list[Spread]]:
        """The rows of `replicates` by the label that the checkpoints share."""
        found: dict[str, list[Spread]] = {}
        for spread in self.replicates:
            found.setdefault(spread.replicate_of, []).append(spread)
        return found

    def measurement(self, calculator: str, case: str) -> Measurement | None:
        """The measurement of one calculator and case, if it was made."""
        return next((m for m in self.measurements if (m.calculator, m.case) == (calculator, case)), None)


def _spreads(identities: Iterable[CalculatorIdentity], rows: Iterable[ProbeResult]) -> tuple[Spread, ...]:
    """Mean and spread of each quantity for each label that several checkpoints share."""
    group = {identity.label: identity.replicate_of for identity in identities}
    found: dict[tuple[str, str, str], list[ProbeResult]] = {}
    for row in rows:
        shared = group[row.calculator]
        if shared is not None:
            found.setdefault((shared, row.case, row.quantity), []).append(row)
    return tuple(Spread.over(key[0], replicates) for key, replicates in found.items())


def overall_verdict(
    rows: Iterable[ProbeResult], *, strict: bool, incomplete: bool, without: bool = False
) -> OverallVerdict:
    """One word for a run. What failed stays failed, also in a run that was cut short.

    Exact laws alone make no run green whose references were left out, by a budget (`without`) or otherwise: a model
    that can be compared with none of them has not been judged.
    """
    rows = list(rows)
    if any(row.failing(strict=strict) for row in rows):
        return "failed"
    if incomplete:
        return "incomplete"
    judged = [row for row in rows if row.verdict.state in JUDGED]
    left_out = [
        row for row in rows if row.expectation and row.verdict.state in (State.NOT_APPLICABLE, State.NOT_COMPARABLE)
    ]
    only_laws = all(map(_is_law, judged)) and (without or not all(map(_is_law, left_out)))
    return "nothing judged" if not judged or only_laws else "passed"


def _is_law(row: ProbeResult) -> bool:
    return row.expectation is not None and row.expectation.level_of_theory == "exact"
