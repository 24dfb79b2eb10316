"""A scorecard against an older one: what became better, what worse, and what cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scipy.special import stdtrit

from mlff_probes.errors import InputError
from mlff_probes.records import ProbeResult, State
from mlff_probes.scorecard.changes import Change, Comparison, Trend
from mlff_probes.scorecard.model import CaseSummary, Scorecard
from mlff_probes.tolerances import RegressionPolicy

SEEDS = ("seeds",)
"""Keys of a protocol that choose random numbers: measurements that differ in these alone are of one quantity."""

COVERAGE = 0.95
"""Of the intervals that measured values carry."""

NAMED = 5
"""Cases that are named where more are left out."""

WIDEST = 3.0
"""How many times as wide as the baseline's an interval counts: a wider one is no chance, but the change itself."""

ROUNDING = 1e-3
"""A verdict has not changed because an error crossed its tolerance by less than this part of it."""


@dataclass(frozen=True)
class Baseline:
    """What a calculator is compared with: the rows of another one, by case and quantity.

    Attributes
    ----------
    label, source
        Its name, and where it comes from: a file, or the spec of a calculator of the same run.
    rows
        Its results.
    cases
        Its cases by id; None where they are those of the run.
    """

    label: str
    source: str
    rows: Mapping[tuple[str, str], ProbeResult]
    cases: Mapping[str, CaseSummary] | None = None


def baseline_of(card: Scorecard, source: str, wanted: str | None = None) -> Baseline:
    """The calculator `wanted` of a scorecard, or its only one, as a baseline.

    Raises
    ------
    InputError
        If it holds no such calculator, or several and none is wanted.
    """
    labels = [identity.label for identity in card.calculators]
    if wanted is None and len(labels) > 1:
        raise InputError(f"{source}: holds several calculators; name one with ,label=…: {', '.join(labels)}")
    label = labels[0] if wanted is None and labels else wanted
    if label not in labels:
        raise InputError(f"{source}: holds no calculator '{label}'; it holds {', '.join(labels) or 'none'}")
    rows = {(row.case, row.quantity): row for row in card.results if row.calculator == label}
    return Baseline(label, source, rows, {case.id: case for case in card.cases})


class Comparer:
    """Compares results with those of a baseline, one by one.

    Parameters
    ----------
    baseline
        What to compare with.
    cases
        The cases of the run.
    policy
        When a change counts.
    comparisons
        How many quantities of the run are compared: the more, the larger a chance change may be.
    """

    def __init__(
        self, baseline: Baseline, cases: Iterable[CaseSummary], policy: RegressionPolicy, comparisons: int
    ) -> None:
        self.baseline, self.policy = baseline, policy
        self.cases = {case.id: case for case in cases}
        self.false_alarms = policy.false_alarms / max(comparisons, 1)

    def not_comparable(self, case: str) -> str:
        """Why nothing of a case is compared; empty where it is."""
        if self.baseline.cases is None:
            return ""
        before, now = self.baseline.cases.get(case), self.cases[case]
        if before is None:
            return f"{case}: not in {self.baseline.source}"
        if _measured_how(before) != _measured_how(now):
            return f"{case}: its protocol or its reference is another than in {self.baseline.source}"
        if before.fingerprint and now.fingerprint and before.fingerprint != now.fingerprint:
            return f"{case}: its structures are others than in {self.baseline.source}"
        return ""

    def change(self, after: ProbeResult) -> Change | None:
        """What became of a quantity; None where it is not compared."""
        before = self.baseline.rows.get((after.case, after.quantity))
        other_reference = before is not None and _reference(before) != _reference(after)
        if self.not_comparable(after.case) or other_reference:
            return None
        if before is None or not _has_verdict(before):
            if not _has_verdict(after):
                return None
            reported = before is not None and _by_nature(before) and after.expectation is None
            return self._of(after, before, Trend.REPORTED if reported else Trend.NEW)
        if not _has_verdict(after):
            by_nature = _by_nature(after)
            trend = Trend.REPORTED if by_nature and after.expectation is None else Trend.GONE
            return self._of(after, before, trend, regression=not by_nature, note=after.verdict.reason)
        if State.ERROR in (before.verdict.state, after.verdict.state):
            return self._of_errors(before, after)
        return self._of_reported(before, after) if after.expectation is None else self._of_numbers(before, after)

    def _of(self, after: ProbeResult, before: ProbeResult | None, trend: Trend, **more: object) -> Change:
        expected = after.expectation
        unit = next(r.measured.unit for r in (after, before) if r and r.measured)
        return Change.model_validate(
            {
                "calculator": after.calculator, "family": after.family, "case": after.case, "unit": unit,
                "quantity": after.quantity, "trend": trend, "before": before.measured if before else None,
                "after": after.measured, "before_state": before.verdict.state if before else None,
                "after_state": after.verdict.state, "reference": expected.value if expected else None,
                "tolerance": expected.tolerance.value if expected else None, **more,
            }
        )  # fmt: skip

    def _of_errors(self, before: ProbeResult, after: ProbeResult) -> Change:
        """At least one of them has no number."""
        was, now = before.verdict.state, after.verdict.state
        if was is State.ERROR and now is State.ERROR:
            return self._of(after, before, Trend.SAME, note=after.verdict.reason)
        if now is State.ERROR:
            trend = Trend.NEWLY_FAILING if was in (State.PASSED, State.REPORTED) else Trend.WORSE
            return self._of(after, before, trend, regression=True, note=after.verdict.reason)
        if now in (State.PASSED, State.REPORTED):
            return self._of(after, before, Trend.NEWLY_PASSING)
        return self._of(after, before, Trend.SAME, note="fails still, but with a number now")

    def _of_reported(self, before: ProbeResult, after: ProbeResult) -> Change:
        if any(row.measured and row.measured.upper_bound for row in (before, after)):
            return self._of(after, before, Trend.REPORTED, note="only an upper bound is known")
        if unresolved := after.verdict.reason or before.verdict.reason:
            return self._of(after, before, Trend.REPORTED, note=unresolved)
        change = _number(after) - _number(before)
        return self._of(
            after, before, Trend.REPORTED, change=change, uncertainty=_interval(before, after, 1 - COVERAGE)
        )

    def _of_numbers(self, before: ProbeResult, after: ProbeResult) -> Change:
        assert after.expectation is not None
        reference, tolerance = after.expectation.value, after.expectation.tolerance.value
        change = abs(_number(after) - reference) - abs(_number(before) - reference)
        uncertainty = _interval(before, after, 1 - COVERAGE)
        chance = _interval(before, after, self.false_alarms, most=WIDEST) or 0.0
        margin = self.policy.margin(after.family)
        threshold = margin * tolerance + chance
        failed, fails = (row.verdict.state is not State.PASSED for row in (before, after))
        crossed = failed != fails and abs(change) > chance + ROUNDING * tolerance and (change > 0) == fails
        if crossed:
            trend = Trend.NEWLY_FAILING if fails else Trend.NEWLY_PASSING
        elif abs(change) > threshold:
            trend = Trend.WORSE if change > 0 else Trend.BETTER
        else:
            trend = Trend.SAME
        note = "" if failed == fails or crossed else "another verdict, by less than chance"
        worse = trend in (Trend.WORSE, Trend.NEWLY_FAILING)
        return self._of(
            after,
            before,
            trend,
            regression=worse,
            change=change,
            uncertainty=uncertainty,
            threshold=threshold,
            note=note,
        )


def compare(
    before: Baseline, card: Scorecard, calculator: str, policy: RegressionPolicy, *, comparisons: int | None = None
) -> Comparison:
    """All changes of one calculator of `card` against a baseline.

    Raises
    ------
    InputError
        If nothing can be compared.
    """
    rows = card.rows(calculator)
    count = comparisons or comparable(before, rows)
    comparer = Comparer(before, card.cases, policy, count)
    changes = [change for row in rows if (change := comparer.change(row))]
    if not changes or all(change.trend is Trend.NEW for change in changes):
        raise InputError(f"{before.source}: holds nothing that can be compared with {calculator}")
    return Comparison(
        calculator=calculator, baseline=before.label, source=before.source, changes=tuple(changes),
        left_out=tuple(_left_out(comparer, before, rows)),
    )  # fmt: skip


def comparable(before: Baseline, rows: Iterable[ProbeResult]) -> int:
    """How many of `rows` are judged against a quantity of the baseline."""
    return sum(row.expectation is not None and (row.case, row.quantity) in before.rows for row in rows)


def _left_out(comparer: Comparer, before: Baseline, rows: list[ProbeResult]) -> list[str]:
    """What was not compared, a sentence each."""
    why = {case: comparer.not_comparable(case) for case in dict.fromkeys(row.case for row in rows)}
    found = [reason for reason in why.values() if reason]
    changed = [
        f"{row.case}, {row.quantity}: its reference is another than in {before.source}"
        for row in rows
        if not why[row.case] and (row.case, row.quantity) in before.rows
        and _reference(before.rows[row.case, row.quantity]) != _reference(row)
    ]  # fmt: skip
    present = {(row.case, row.quantity) for row in rows}
    missing = [case for case, quantity in before.rows if (case, quantity) not in present]
    if missing:
        cases = list(dict.fromkeys(missing))
        named = ", ".join(cases[:NAMED]) + (f" and {len(cases) - NAMED} more" if len(cases) > NAMED else "")
        found.append(f"{len(missing)} quantities of the baseline are not part of this run ({named})")
    return found + changed


def _measured_how(case: CaseSummary) -> tuple[object, ...]:
    protocol = {key: value for key, value in case.protocol.items() if key not in SEEDS}
    return case.kind, case.level_of_theory, protocol


def _reference(row: ProbeResult) -> tuple[float, str] | None:
    return (row.expectation.value, row.expectation.unit) if row.expectation else None


def _has_verdict(row: ProbeResult) -> bool:
    """Whether there is a number, or an error where one should be."""
    return row.verdict.state not in (State.NOT_APPLICABLE, State.NOT_COMPARABLE)


def _by_nature(row: ProbeResult) -> bool:
    """Whether it lacks a number though nothing is missing."""
    return row.measured is not None and row.measured.problem is not None and row.measured.problem.by_nature


def _number(row: ProbeResult) -> float:
    assert row.measured is not None
    assert row.measured.value is not None
    return row.measured.value


def _interval(before: ProbeResult, after: ProbeResult, chance: float, most: float = math.inf) -> float | None:
    """Half the width of the interval that a difference leaves with this `chance`; None where both are exact.

    By Student's t with the degrees of freedom of Welch (Biometrika 34, 28 (1947)). The error after counts as no more
    than `most` times that before.
    """
    known = [
        (row.measured.uncertainty / _quantile(degrees, 1 - COVERAGE), degrees)
        for row in (before, after)
        if row.measured and row.measured.uncertainty
        for degrees in (row.measured.degrees_of_freedom or math.inf,)
    ]
    if not known:
        return None
    errors = [min(error, most * known[0][0]) for error, _ in known]
    variance = sum(error**2 for error in errors)
    lost = sum(error**4 / degrees for error, (_, degrees) in zip(errors, known, strict=True))
    return _quantile(variance**2 / lost if lost else math.inf, chance) * math.sqrt(variance)


def _quantile(degrees: float, chance: float) -> float:
    """Half the width of an interval of Student's t, in standard errors, beyond which `chance` is left."""
    return -float(stdtrit(degrees, chance / 2))
