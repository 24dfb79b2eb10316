"""What a comparison with a baseline finds, as data."""

from __future__ import annotations

from enum import StrEnum

from mlff_probes.core.records import Finite, NonNegative, Record, State, Text, Value
from mlff_probes.scorecard.chance import Scatter


class Trend(StrEnum):
    """What became of a quantity. `WORSE`, `NEWLY_FAILING` and, unless it is so by nature, `GONE` are regressions."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    NEWLY_FAILING = "newly failing"
    NEWLY_PASSING = "newly passing"
    GONE = "gone"
    NEW = "new"
    REPORTED = "reported"


class Change(Record):
    """One quantity of one case, before and after.

    `change` is that of the error, ``abs(after - reference) - abs(before - reference)``: negative is better; of a
    quantity that is only reported, the difference of the values. `uncertainty` is half the width of its 95 % interval,
    None where both are exact, and `threshold` what it must exceed to count. `seeds_before` and `seeds_after` are the
    scatter over the replicates of the baseline and of the calculator, None where there are none.
    """

    calculator: Text
    family: Text
    case: Text
    quantity: Text
    unit: Text
    trend: Trend
    regression: bool = False
    before: Value | None = None
    after: Value | None = None
    before_state: State | None = None
    after_state: State | None = None
    seeds_before: Scatter | None = None
    seeds_after: Scatter | None = None
    reference: Finite | None = None
    tolerance: Finite | None = None
    change: Finite | None = None
    uncertainty: NonNegative | None = None
    threshold: NonNegative | None = None
    note: str = ""


class Comparison(Record):
    """All changes of one calculator against a baseline, and what was left out."""

    calculator: Text
    baseline: Text
    source: Text
    changes: tuple[Change, ...]
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def regressions(self) -> list[Change]:
        """The changes for the worse."""
        return [change for change in self.changes if change.regression]

    @property
    def judged(self) -> bool:
        """Whether any quantity was compared that is judged, and has a number before or after."""
        return any(
            change.trend not in (Trend.NEW, Trend.REPORTED)
            and not change.before_state is change.after_state is State.ERROR
            for change in self.changes
        )

    def compares(self, *, judged: bool) -> bool:
        """Whether anything could be compared, or anything that is judged."""
        return any(change.trend is not Trend.NEW and (change.reference is not None or not judged)
                   for change in self.changes)  # fmt: skip

    def counts(self) -> dict[Trend, int]:
        """How many changes there are of each kind that occurs."""
        trends = [change.trend for change in self.changes]
        return {trend: trends.count(trend) for trend in Trend if trend in trends}
