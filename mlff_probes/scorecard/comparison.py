"""A scorecard against an older one: what became better, what worse, and what cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mlff_probes.core.records import Expectation, ProbeResult, State
from mlff_probes.scorecard.baseline import Baseline, has_number
from mlff_probes.scorecard.chance import COVERAGE, WIDEST, Scatter, interval, uncertainty
from mlff_probes.scorecard.changes import Change, Comparison, Trend
from mlff_probes.scorecard.model import CaseSummary, Scorecard
from mlff_probes.scorecard.regression import Direction, RegressionPolicy

NOT_COMPARED = ("seeds", "extrapolation")
"""Keys of a protocol that change no number that is judged: random numbers, and training frames beside a simulation."""

NAMED = 5
"""How many cases, or reasons, are named where there are more."""

ROUNDING = 1e-3
"""A verdict has not changed because an error crossed its tolerance by less than this part of it."""

CASE_FILE_SUFFIX = ".toml"
"""How the id of a case ends whose file cannot be read."""


def difference(before: CaseSummary, now: CaseSummary) -> str:
    """In what two cases of one id differ, so that their numbers cannot be compared; empty where they are the same."""
    if measured_how(before) != measured_how(now):
        return "protocol"
    if _others(before.fingerprint, now.fingerprint):
        return "structures"
    others = before.level_of_theory != now.level_of_theory
    return "reference" if others or _others(before.reference_fingerprint, now.reference_fingerprint) else ""


def _others(before: str, now: str) -> bool:
    """Whether two hashes are known to differ; an older scorecard has none."""
    return bool(before and now and before != now)


EXACT: Mapping[tuple[str, str], Scatter] = {}
"""No scatter of any quantity."""


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
    calculators
        How many calculators are compared with the baseline: the more, the larger a chance change may be.
    seeds
        The scatter of what is compared over its own replicates, by case and quantity, where there are any.
    """

    def __init__(
        self,
        baseline: Baseline,
        cases: Iterable[CaseSummary],
        policy: RegressionPolicy,
        calculators: int = 1,
        seeds: Mapping[tuple[str, str], Scatter] = EXACT,
    ) -> None:
        self.baseline, self.policy, self.seeds = baseline, policy, seeds
        self.cases = {case.id: case for case in cases}
        # by their names: asking a live baseline for a row measures it
        directed = sum(
            policy.direction(self.cases[case].family, quantity) is not None
            for case, quantity in baseline.rows
            if case in self.cases
        )
        self.false_alarms = policy.false_alarms / max((baseline.judged + directed) * calculators, 1)

    def not_comparable(self, case: str) -> str:
        """Why nothing of a case is compared; empty where it is."""
        if self.baseline.cases is None:
            return ""
        before, now = self.baseline.cases.get(case), self.cases.get(case)
        if now is None:
            return f"{case}: could not be read"
        if before is None:
            return f"{case}: not in {self.baseline.source}"
        other = difference(before, now)
        verb = "are others" if other == "structures" else "is another"
        return f"{case}: its {other} {verb} than in {self.baseline.source}" if other else ""

    def another_reference(self, case: str, quantity: str, expectation: Expectation | None) -> str:
        """Why a quantity is not compared though its case is; empty where it is, or is not in the baseline."""
        before = self.baseline.rows.get((case, quantity))
        same = before is None or same_reference(before.expectation, expectation)
        return "" if same else f"{case}, {quantity}: its reference is another than in {self.baseline.source}"

    def left_out(self, after: ProbeResult) -> str:
        """Why a quantity that was measured is not compared though its case is; empty where it is.

        Beyond `another_reference` this looks at the unit, which only a measured quantity has.
        """
        before = self.baseline.rows.get((after.case, after.quantity))
        if before is None or _unit(before) == _unit(after):
            return self.another_reference(after.case, after.quantity, after.expectation)
        return f"{after.case}, {after.quantity}: its unit is another than in {self.baseline.source}"

    def change(self, after: ProbeResult) -> Change | None:
        """What became of a quantity; None where it is not compared."""
        before = self.baseline.rows.get((after.case, after.quantity))
        if self.baseline.cases and after.case not in self.cases:
            return self._of_unreadable(after)
        if self.not_comparable(after.case) or self.left_out(after):
            return None
        if before is None or not has_verdict(before):
            return self._of_new(before, after) if has_verdict(after) else None
        if not has_verdict(after):
            by_nature = _by_nature(after) and self._direction(after) is None
            trend = Trend.REPORTED if by_nature and after.expectation is None else Trend.GONE
            lost = not by_nature and not (_errs(before) and after.verdict.state is State.NOT_COMPARABLE)
            return self._of(after, before, trend, regression=lost, note=after.verdict.reason)
        if any(map(_errs, (before, after))):
            return self._of_errors(before, after)
        return self._of_reported(before, after) if after.expectation is None else self._of_numbers(before, after)

    def _of(self, after: ProbeResult, before: ProbeResult | None, trend: Trend, **more: object) -> Change:
        expected = after.expectation
        unit = next((r.measured.unit for r in (after, before) if r and r.measured), "-")
        key = (after.case, after.quantity)
        return Change.model_validate(
            {
                "calculator": after.calculator, "family": after.family, "case": after.case, "unit": unit,
                "quantity": after.quantity, "trend": trend, "before": before.measured if before else None,
                "after": after.measured, "before_state": before.verdict.state if before else None,
                "after_state": after.verdict.state, "reference": expected.value if expected else None,
                "tolerance": expected.tolerance.value if expected else None,
                "seeds_before": self.baseline.scatter.get(key) if before else None,
                "seeds_after": self.seeds.get(key), **more,
            }
        )  # fmt: skip

    def _of_new(self, before: ProbeResult | None, after: ProbeResult) -> Change:
        """The change of a quantity for which the baseline has no verdict to compare with."""
        if before is not None and _by_nature(before) and after.expectation is None:
            return self._of(after, before, Trend.REPORTED)
        state = after.verdict.state
        said = "" if state in (State.PASSED, State.REPORTED) else f"{state.value}: {after.verdict.reason}".rstrip(": ")
        return self._of(after, before, Trend.NEW, note=said)

    def _of_unreadable(self, after: ProbeResult) -> Change | None:
        """The change where the file of a case of the baseline cannot be read any more: all its quantities are lost."""
        case = after.case.removesuffix(CASE_FILE_SUFFIX)
        if case == after.case or case not in (self.baseline.cases or ()):
            return None
        return self._of(after, None, Trend.NEWLY_FAILING, regression=True, note=after.verdict.reason)

    def _of_errors(self, before: ProbeResult, after: ProbeResult) -> Change:
        """The change of a quantity where the result before, or now, has no number though it should."""
        was, now = before.verdict, after.verdict
        if _errs(before) and _errs(after):
            note = now.reason if now.reason == was.reason else f"{now.reason}; before: {was.reason}"
            return self._of(after, before, Trend.SAME, note=f"no number, as before: {note}")
        if _errs(after):
            trend = Trend.NEWLY_FAILING if was.state in (State.PASSED, State.REPORTED) else Trend.WORSE
            return self._of(after, before, trend, regression=True, note=now.reason)
        if now.state in (State.PASSED, State.REPORTED):
            return self._of(after, before, Trend.NEWLY_PASSING)
        return self._of(after, before, Trend.SAME, note="fails still, but with a number now")

    def _of_reported(self, before: ProbeResult, after: ProbeResult) -> Change:
        if any(row.measured and row.measured.upper_bound for row in (before, after)):
            return self._of(after, before, Trend.REPORTED, note="only an upper bound is known")
        if unresolved := after.verdict.reason or before.verdict.reason:
            return self._of(after, before, Trend.REPORTED, note=unresolved)
        change, known = _number(after) - _number(before), self._uncertainty(before, after)
        direction = self._direction(after)
        other = _seen_on_another(before, after) if direction else ""
        if direction is None or other:
            return self._of(after, before, Trend.REPORTED, change=change, uncertainty=known, note=other)
        threshold, worse = direction.margin + self._chance(before, after), (change > 0) == (direction.worse == "larger")
        changed = Trend.WORSE if worse else Trend.BETTER
        trend = changed if abs(change) > threshold else Trend.REPORTED
        return self._of(
            after, before, trend, regression=trend is Trend.WORSE, change=change, uncertainty=known, threshold=threshold
        )

    def _direction(self, row: ProbeResult) -> Direction | None:
        """Which way a result becomes worse that has no reference; None where nobody says, or it has one."""
        return None if row.expectation else self.policy.direction(row.family, row.quantity)

    def _of_numbers(self, before: ProbeResult, after: ProbeResult) -> Change:
        assert after.expectation is not None
        assert before.expectation is not None
        reference, tolerance = after.expectation.value, after.expectation.tolerance.value
        errors = [abs(_number(row) - reference) for row in (before, after)]
        change = errors[1] - errors[0]
        chance = self._chance(before, after)
        part = self.policy.margin(after.family) * min(tolerance, before.expectation.tolerance.value)
        known = max(after.expectation.uncertainty, before.expectation.uncertainty)
        threshold = max(part, known) + chance
        failed, fails = (row.verdict.state is not State.PASSED for row in (before, after))
        if other_tolerance(before, after):  # the verdict that it would have had
            failed = errors[0] > tolerance
        least = max(known, ROUNDING * tolerance) + chance
        crossed = failed != fails and abs(change) > least and (change > 0) == fails
        blurred = after.verdict.state is State.ERROR and uncertainty(after) > WIDEST * uncertainty(before)
        note = after.verdict.reason if after.verdict.state is State.ERROR else _other_samples(before, after)
        if crossed or (blurred and not failed):
            trend = Trend.NEWLY_FAILING if fails else Trend.NEWLY_PASSING
        elif abs(change) > threshold or blurred:
            trend = Trend.WORSE if change > 0 or blurred else Trend.BETTER
        else:
            trend = Trend.SAME
            if failed != fails and not note:
                earlier = before.verdict.reason if before.verdict.state is State.ERROR else ""
                note = f"before: {earlier}" if earlier else f"another verdict, by {_too_little(chance, known)}"
            elif abs(change) > threshold - chance + self._measured(before, after) and not note:
                note = "less than another seed does"
        return self._of(
            after,
            before,
            trend,
            regression=trend in (Trend.WORSE, Trend.NEWLY_FAILING),
            change=change,
            uncertainty=self._uncertainty(before, after),
            threshold=threshold,
            note=note,
        )

    def _chance(self, before: ProbeResult, after: ProbeResult) -> float:
        """What chance could do to a change: the scatter of a measurement, or that of replicates if it is larger."""
        scatter = self.baseline.scatter.get((after.case, after.quantity))
        seeds = scatter.interval(self.policy.retraining.false_alarms) if scatter else 0.0
        return max(self._measured(before, after), seeds)

    def _measured(self, before: ProbeResult, after: ProbeResult) -> float:
        """What the scatter of a measurement alone could do to a change."""
        return interval(before, after, self.false_alarms, most=WIDEST) or 0.0

    def _uncertainty(self, before: ProbeResult, after: ProbeResult) -> float | None:
        """Half the width of the 95 % interval of a change; None where both are exact."""
        scatter = self.baseline.scatter.get((after.case, after.quantity))
        known = interval(before, after, 1 - COVERAGE)
        return max(known or 0.0, scatter.interval(1 - COVERAGE)) if scatter else known


def _too_little(chance: float, known: float) -> str:
    """By what a verdict changed that is no change: chance, what the reference is known to, or the last digits."""
    if chance:
        return "less than chance"
    return "less than its reference is known to" if known else "rounding"


def _seen_on_another(before: ProbeResult, after: ProbeResult) -> str:
    """Why two numbers without a reference say nothing of each other; empty where they do."""
    one, other = (row.measured.note if row.measured else "" for row in (before, after))
    return f"{other}, before {one}" if one != other else _other_samples(before, after)


def _other_samples(before: ProbeResult, after: ProbeResult) -> str:
    """What is said of two numbers that stand on other samples; empty where they stand on as many."""
    one, other = (row.measured.samples if row.measured else None for row in (before, after))
    if one is None or other is None or (one.used, one.of) == (other.used, other.of):
        return ""
    return f"on {other.used} of {other.of} {other.what}, before on {one.used} of {one.of}"


def compare(
    before: Baseline, card: Scorecard, calculator: str, policy: RegressionPolicy, calculators: int = 1
) -> Comparison:
    """All changes of one of the `calculators` of `card` against a baseline, and what was left out."""
    rows = card.rows(calculator)
    comparer = Comparer(before, card.cases, policy, calculators, _seeds(card, calculator))
    return Comparison(
        calculator=calculator,
        baseline=before.label,
        source=before.source,
        changes=tuple(change for row in rows if (change := comparer.change(row))),
        left_out=tuple(_left_out(comparer, before, rows)),
        remarks=(*before.remarks, *_other_tolerances(before, rows)),
    )


def _seeds(card: Scorecard, calculator: str) -> dict[tuple[str, str], Scatter]:
    """The scatter of each quantity over the replicates of which a calculator is one."""
    group = next(identity.replicate_of for identity in card.calculators if identity.label == calculator)
    return {
        (spread.case, spread.quantity): Scatter(
            standard_deviation=spread.standard_deviation, measured=spread.measured, replicates=spread.replicates
        )
        for spread in card.spreads.get(group or "", [])
    }


def _left_out(comparer: Comparer, before: Baseline, rows: list[ProbeResult]) -> list[str]:
    """What was not compared: one sentence for each reason."""
    why = {case: comparer.not_comparable(case) for case in dict.fromkeys(row.case for row in rows)}
    found = [reason for reason in why.values() if reason]
    present = {(row.case, row.quantity) for row in rows}
    missing = [case for case, quantity in before.rows if (case, quantity) not in present]
    if missing:
        cases = list(dict.fromkeys(missing))
        named = ", ".join(cases[:NAMED]) + (f" and {len(cases) - NAMED} more" if len(cases) > NAMED else "")
        verb = "quantity of the baseline is" if len(missing) == 1 else "quantities of the baseline are"
        found.append(f"{len(missing)} {verb} not part of this run ({named})")
    return found + [reason for row in rows if not why[row.case] and (reason := comparer.left_out(row))]


def several(reasons: Iterable[str]) -> str:
    """Reasons in one line, each once, and the first few alone where they are many."""
    found = list(dict.fromkeys(reasons))
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return "; ".join(found[:NAMED]) + more


def _other_tolerances(before: Baseline, rows: Iterable[ProbeResult]) -> list[str]:
    found = [row for row in rows if other_tolerance(before.rows.get((row.case, row.quantity)), row)]
    if not found:
        return []
    count = "1 quantity has" if len(found) == 1 else f"{len(found)} quantities have"
    return [f"{count} another tolerance than in {before.source}: margins are parts of the smaller one"]


def other_tolerance(before: ProbeResult | None, after: ProbeResult) -> bool:
    """Whether two results are both judged, but within different tolerances."""
    if before is None or before.expectation is None or after.expectation is None:
        return False
    return not math.isclose(before.expectation.tolerance.value, after.expectation.tolerance.value)


def has_verdict(row: ProbeResult) -> bool:
    """Whether a result has a number, or an error where a number should be."""
    return row.verdict.state not in (State.NOT_APPLICABLE, State.NOT_COMPARABLE)


def measured_how(case: CaseSummary) -> tuple[object, ...]:
    """The protocol, but for `NOT_COMPARED`: what must be the same for numbers to be compared.

    A key that says nothing is left out: a scorecard of an earlier version does not have it.
    """
    protocol = {key: said for key, said in case.protocol.items() if key not in NOT_COMPARED and said is not None}
    return case.kind, protocol


def same_reference(one: Expectation | None, other: Expectation | None) -> bool:
    """Whether two references are the same but for rounding: some are computed from stored energies."""
    if one is None or other is None:
        return one is other
    return one.unit == other.unit and math.isclose(one.value, other.value, rel_tol=1e-6, abs_tol=1e-9)


def _unit(row: ProbeResult) -> str:
    return row.measured.unit if row.measured else ""


def _by_nature(row: ProbeResult) -> bool:
    """Whether a result has no number by its nature, though nothing went wrong."""
    return row.measured is not None and row.measured.problem is not None and row.measured.problem.by_nature


def _errs(row: ProbeResult) -> bool:
    """Whether a result has no number to be compared though it should: one that is only reported may be unresolved."""
    return (not has_number(row) or _on_a_remnant(row)) and row.verdict.state is not State.REPORTED


def _on_a_remnant(row: ProbeResult) -> bool:
    """Whether a number stands on too few of its samples to be judged."""
    samples = row.measured.samples if row.measured else None
    least = row.expectation.minimum_share if row.expectation else None
    return samples is not None and least is not None and samples.share < least.value


def _number(row: ProbeResult) -> float:
    assert row.measured is not None
    assert row.measured.value is not None
    return row.measured.value
