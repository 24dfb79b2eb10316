"""Several calculators beside each other: what each is off by, and a rank for each family."""

from __future__ import annotations

import functools
import math
import statistics
from typing import NamedTuple

from mlff_probes.core.records import ProbeResult, State
from mlff_probes.measure import FAMILIES
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.regression import load_regression
from mlff_probes.scorecard.reports import text as fmt

NEAREST = "▸"
"""Stands before the smallest deviation of a row."""

LEGEND = (
    f"deviations from the reference; {NEAREST} nearest to it by more than noise, {fmt.MARK[State.PASSED]} passed, "
    f"{fmt.MARK[State.FAILED]} failed, {fmt.MARK[State.ERROR]} error, {fmt.MARK[State.KNOWN_FAILURE]} known failure, "
    f"{fmt.MARK[State.NOT_APPLICABLE]} not applicable, {fmt.MARK[State.NOT_COMPARABLE]} of another level of theory, "
    "empty: no verdict"
)

RANK_LEGEND = (
    "a rank is one more than the number of calculators that are clearly better, by what failed or erred, then by the "
    "median of |deviation| / tolerance; two calculators are held against each other on what both were asked: what has "
    "no verdict for one of them (not asked: of elements or a level of theory that it does not claim, or left out of "
    "the run) is shown and ranks nobody; verdicts on numbers that differ by less than their uncertainties count as "
    "equal, and so do medians that differ by less than these and the margin of the gate; the median shown is over what "
    "all of the family's ranked calculators have"
)

FIXED_COLUMNS = ("case", "quantity", "tolerance", "unit")
"""The columns before those of the calculators."""

JUDGED = (State.PASSED, State.FAILED, State.ERROR, State.KNOWN_FAILURE)
"""Verdicts on the calculator; a known failure, which does not count for a run, still says something of it."""


WRONG = (State.FAILED, State.ERROR, State.KNOWN_FAILURE)
"""Verdicts that count against a calculator."""


class Texts(NamedTuple):
    """A table as texts, for any kind of report; empty `rows` where there is nothing to show."""

    head: tuple[str, ...]
    rows: list[list[str]]


class Standing(NamedTuple):
    """How one calculator does in one family.

    `place` is one more than the number of calculators that are clearly better (`_clearly_better`), and None for one
    that has no verdict in the family, or none where another one has. `not_asked` counts the quantities that were judged
    for another calculator and have no verdict here, though nothing in the nature of this calculator rules them out.
    `known` counts known failures, which rank as failures. `median` is that of ``abs(deviation) / tolerance`` over the
    `common` quantities of which all ranked calculators have a number.
    """

    family: str
    place: int | None
    calculator: str
    passed: int
    failed: int
    error: int
    known: int
    not_asked: int
    not_judged: int
    median: float | None
    common: int


def compared(card: Scorecard) -> list[str]:
    """The calculators that stand beside each other, replicates one by one; empty where there is only one."""
    labels = [identity.label for identity in card.calculators if card.rows(identity.label)]
    return labels if len(labels) > 1 else []


def side_by_side(card: Scorecard) -> Texts:
    """A row for each quantity that is judged, a column for each calculator: its deviation and the mark of its verdict.

    The smallest absolute deviation of a row has `NEAREST` before it, unless another one reads the same or differs by
    no more than the family's regression margin and both uncertainties.
    """
    labels, rows = compared(card), []
    for found in _judged(card, labels):
        results = list(found.values())
        cells = {label: fmt.cells(row) for label, row in found.items()}
        nearest = _nearest(found)
        texts = [
            f"{NEAREST if label == nearest else ''}{cells[label]['deviation']}{fmt.coverage(found[label].measured)} "
            f"{fmt.MARK[found[label].verdict.state]}"
            if label in found
            else ""
            for label in labels
        ]
        tolerances, units = (
            dict.fromkeys(cell[name] for cell in cells.values() if cell[name] not in ("—", ""))
            for name in ("tolerance", "unit")
        )
        fixed = [results[0].case, results[0].quantity, " or ".join(tolerances) or "—", next(iter(units), "")]
        rows.append([*fixed, *texts])
    return Texts((*FIXED_COLUMNS, *labels), rows)


def standings(card: Scorecard) -> list[Standing]:
    """The rank of the calculators in each family; no place over families, which could hide a failure in one."""
    labels = compared(card)
    judged = _judged(card, labels)
    found = []
    for family in FAMILIES:
        rows = [row for row in judged if next(iter(row.values())).family == family]
        rows = [row for row in rows if any(result.verdict.state in JUDGED for result in row.values())]
        if rows:
            found += _ranked(family, labels, rows)
    return found


def rank_table(card: Scorecard) -> Texts:
    """`standings` as texts, the best of each family first; columns in which nothing is counted are left out."""
    found = standings(card)
    counted = {
        "passed": [each.passed for each in found],
        "failed": [each.failed for each in found],
        "error": [each.error for each in found],
        "known failure": [each.known for each in found],
        "not asked": [each.not_asked for each in found],
        "not judged": [each.not_judged for each in found],
    }
    used = [name for name, counts in counted.items() if any(counts)]
    rows = [
        [
            each.family,
            "—" if each.place is None else str(each.place),
            each.calculator,
            *(str(counted[name][index]) for name in used),
            "—" if each.median is None else f"{each.median:.2g} (of {each.common})",
        ]
        for index, each in enumerate(found)
    ]
    return Texts(("family", "rank", "calculator", *used, "median deviation / tolerance"), rows)


def _judged(card: Scorecard, labels: list[str]) -> list[dict[str, ProbeResult]]:
    """The results of each quantity by calculator, where one has a verdict or a deviation, in the order of the cases."""
    order = {case.id: index for index, case in enumerate(card.cases)}
    found: dict[tuple[str, str], dict[str, ProbeResult]] = {}
    for row in card.results:
        if row.calculator in labels:
            found.setdefault((row.case, row.quantity), {})[row.calculator] = row
    judged = [
        rows
        for rows in found.values()
        if any(row.verdict.deviation is not None or row.verdict.state in JUDGED for row in rows.values())
    ]
    return sorted(judged, key=lambda rows: order.get(next(iter(rows.values())).case, len(order)))


def _nearest(rows: dict[str, ProbeResult]) -> str | None:
    """The calculator whose deviation is smaller than that of each other one; None where that cannot be said."""
    known = {label: row for label, row in rows.items() if _has_number(row)}
    if len(known) < 2:
        return None
    first, *others = sorted(known, key=lambda label: _off(known[label]))
    return None if any(_alike(known[first], known[other]) for other in others) else first


def _alike(one: ProbeResult, other: ProbeResult) -> bool:
    """Whether two deviations read the same but for their sign, or differ by no more than noise does."""
    texts = {fmt.cells(row)["deviation"].lstrip("+-") for row in (one, other)}
    margin = max(_margin(each) * _tolerance(each) for each in (one, other))
    noise = margin + _uncertainty(one, other)
    return len(texts) == 1 or abs(_off(one) - _off(other)) <= noise


def _by_chance(one: ProbeResult, other: ProbeResult) -> bool:
    """Whether two numbers are so near each other that another verdict may be chance."""
    if not (_has_number(one) and _has_number(other)):
        return False
    return abs(_off(one) - _off(other)) < _uncertainty(one, other)


def _uncertainty(*rows: ProbeResult) -> float:
    """Half the width of the interval of a difference of two measured numbers."""
    return math.hypot(*(row.measured.uncertainty or 0.0 for row in rows if row.measured))


@functools.cache
def _margins() -> dict[str, float]:
    return {family: row.margin for family, row in load_regression().margins.items()}


def _margin(row: ProbeResult) -> float:
    """The part of its tolerance by which errors must differ, as for changes: no less than its reference is known to.

    In some families it is all of the tolerance, which is a noise floor.
    """
    assert row.expectation is not None
    return max(_margins().get(row.family, 0.0), row.expectation.uncertainty / _tolerance(row))


def _has_number(row: ProbeResult) -> bool:
    """Whether a number was compared with its reference; an error may have one that is not known well enough."""
    bound = row.measured is not None and row.measured.upper_bound
    compared = row.verdict.state in (State.PASSED, State.FAILED, State.KNOWN_FAILURE)
    return compared and row.verdict.deviation is not None and not bound


def _off(row: ProbeResult) -> float:
    assert row.verdict.deviation is not None
    return abs(row.verdict.deviation)


def _ranked(family: str, labels: list[str], rows: list[dict[str, ProbeResult]]) -> list[Standing]:
    """The standings in one family, the best first; those without a place last."""
    judged = {label: [row for row in rows if _state(row, label) in JUDGED] for label in labels}
    ranked = [label for label in labels if judged[label]]
    common = [row for row in rows if all(label in row and _has_number(row[label]) for label in ranked)]

    def place(label: str) -> int | None:
        others = [other for other in ranked if other != label]
        shared = [row for row in judged[label] if any(_state(row, other) in JUDGED for other in others)]
        if not judged[label] or (others and not shared):
            return None
        return 1 + sum(_clearly_better(other, label, judged[label]) for other in others)

    found = [
        _standing(family, label, rows, common if label in ranked else [])._replace(place=place(label))
        for label in labels
    ]
    return sorted(found, key=_merit)


def _merit(each: Standing) -> tuple[float, int, float]:
    """In which order calculators are shown: by place, and those that share one by all that they have."""
    wrong = each.failed + each.error + each.known
    return math.inf if each.place is None else each.place, wrong, each.median or 0.0


def _clearly_better(one: str, other: str, rows: list[dict[str, ProbeResult]]) -> bool:
    """Whether one calculator is better than another by more than noise, on what both were asked."""
    both = [row for row in rows if _state(row, one) in JUDGED and _state(row, other) in JUDGED]
    clear = [row for row in both if not _by_chance(row[one], row[other])]
    wrong, others = (sum(_state(row, label) in WRONG for row in clear) for label in (one, other))
    if wrong != others:
        return wrong < others
    numbers = [row for row in both if _has_number(row[one]) and _has_number(row[other])]
    if not numbers:
        return False
    (median, unsure), (larger, other_unsure) = (_median([row[label] for row in numbers]) for label in (one, other))
    margin = statistics.median(_margin(row[one]) for row in numbers)
    return larger - median > margin + math.hypot(unsure, other_unsure)


def _median(rows: list[ProbeResult]) -> tuple[float, float]:
    """The median of |deviation| / tolerance, and how much larger it is if each deviation is, by its uncertainty."""
    median = statistics.median(_off(row) / _tolerance(row) for row in rows)
    return median, statistics.median((_off(row) + _uncertainty(row)) / _tolerance(row) for row in rows) - median


def _standing(
    family: str, label: str, rows: list[dict[str, ProbeResult]], common: list[dict[str, ProbeResult]]
) -> Standing:
    states = [_state(row, label) for row in rows]
    not_asked = sum(_not_asked(row.get(label)) for row in rows)
    return Standing(
        family=family,
        place=None,
        calculator=label,
        passed=states.count(State.PASSED),
        failed=states.count(State.FAILED),
        error=states.count(State.ERROR),
        known=states.count(State.KNOWN_FAILURE),
        not_asked=not_asked,
        not_judged=sum(state not in JUDGED for state in states) - not_asked,
        median=_median([row[label] for row in common])[0] if common else None,
        common=len(common),
    )


def _state(row: dict[str, ProbeResult], label: str) -> State | None:
    return row[label].verdict.state if label in row else None


def _tolerance(row: ProbeResult) -> float:
    assert row.expectation is not None
    return row.expectation.tolerance.value


def _not_asked(row: ProbeResult | None) -> bool:
    """Whether there is no verdict where there could be one."""
    if row is None or row.verdict.state is State.NOT_COMPARABLE:
        return True
    # `strict` counts what is not applicable unless it is so by nature
    return row.verdict.state is State.NOT_APPLICABLE and row.failing(strict=True)
