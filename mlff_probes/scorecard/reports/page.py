"""The scorecard as one HTML page that needs nothing beside it: verdict, changes, every case with its picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from mlff_probes.core.errors import InputError
from mlff_probes.core.records import CalculatorIdentity, ProbeResult, State
from mlff_probes.core.version import installed_version
from mlff_probes.measure import FAMILIES
from mlff_probes.scorecard.changes import Change, Comparison, Trend
from mlff_probes.scorecard.comparison import difference, same_reference
from mlff_probes.scorecard.model import CaseSummary, OverallVerdict, Scorecard
from mlff_probes.scorecard.ranks import FIXED_COLUMNS, LEGEND, RANK_LEGEND, rank_table, side_by_side
from mlff_probes.scorecard.reports import text as fmt
from mlff_probes.scorecard.reports.case_text import case_remarks, share_texts, tolerance_texts
from mlff_probes.scorecard.reports.pictures import draw_all
from mlff_probes.scorecard.reports.speed import COLUMNS as SPEED_COLUMNS
from mlff_probes.scorecard.reports.speed import speed_reports
from mlff_probes.scorecard.reports.templating import template
from mlff_probes.scorecard.reports.terminal import notes

COLUMNS = ("verdict", "measured", "reference", "deviation", "tolerance", "unit")
"""Columns behind the name; the verdict comes first, where a narrow screen shows it."""

MOST_NAMED = 3
"""Calculators that the title names; of more it gives the number."""

WORST_FIRST: tuple[OverallVerdict, ...] = ("failed", "incomplete", "nothing judged", "passed")
SIGN: dict[OverallVerdict, str] = {"failed": "✗", "incomplete": "!", "nothing judged": "–", "passed": "✓"}
MEANING: dict[OverallVerdict, str] = {
    "failed": "The exit code is 1: {counts}.",
    "incomplete": "The exit code is not 0: the run ended before every quantity had a verdict.",
    "nothing judged": "The exit code is 1: no quantity was compared with anything, which is no success.",
    "passed": "The exit code is 0: nothing that counts failed.",
}
COUNTS = {
    "tolerance": "a quantity is further from its reference than its tolerance, or could not be measured",
    "regression": "a quantity is worse than that of the baseline",
    "both": "a quantity is beyond its tolerance, could not be measured, or is worse than that of the baseline",
}
FAILING = (State.FAILED, State.ERROR)

TONE = {
    State.PASSED: "good",
    State.FAILED: "bad",
    State.ERROR: "bad",
    State.NOT_COMPARABLE: "odd",
    State.KNOWN_FAILURE: "odd",
}
"""The colours of the page, which never stand without a mark or a word; all else is grey."""

MARK_TONE = {fmt.MARK[state]: tone for state, tone in TONE.items()}

TREND_TONE = {
    Trend.BETTER: "good",
    Trend.NEWLY_PASSING: "good",
    Trend.WORSE: "bad",
    Trend.NEWLY_FAILING: "bad",
    Trend.GONE: "odd",
}
UNCHANGED = (Trend.SAME, Trend.REPORTED)
"""Trends that no table of changes shows."""


@dataclass(frozen=True)
class Source:
    """A scorecard, and the name that the page calls it by."""

    name: str
    card: Scorecard


class Cell(NamedTuple):
    """The text of a cell, and its tone."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table; of each row the first `names` cells are its heading, the `numbers` columns stand to the right."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1
    numbers: Sequence[str] = ()


@dataclass(frozen=True)
class Failure:
    """Rows that failed for one law or path, how many of each calculator where there are several, what to look at."""

    lines: list[tuple[str, str]]
    of_each: str
    look_first: str


@dataclass(frozen=True)
class CaseView:
    """One case as the page shows it; `case` is None for a file that could not be read.

    `failed` says how many quantities failed of each of several calculators.
    """

    id: str
    anchor: str
    tone: str
    counts: str
    failed: str
    case: CaseSummary | None
    figure: str
    table: Table
    failures: list[Failure]
    tolerances: list[str]
    remarks: list[str]


@dataclass(frozen=True)
class FamilyView:
    """The cases of one family."""

    name: str
    anchor: str
    tone: str
    counts: str
    cases: list[CaseView]


def render(sources: Sequence[Source]) -> str:
    """One page of one or several scorecards, whose calculators then stand side by side.

    Raises
    ------
    InputError
        If two scorecards have another case under the same id.
    """
    from mlff_probes.scorecard.reports.figures import BARRIER_ERRORS

    sources = _own_labels(sources)
    card = joined(sources)
    figures, undrawn = draw_all(card)
    problems = [f"the figure of {name} could not be drawn: {why}" for name, why in undrawn.items()]
    shown = [identity for identity in card.calculators if card.rows(identity.label)]
    families = _families(card, figures)
    return template("report.html").render(
        title=_title([identity.label for identity in shown]),
        verdict=card.verdict,
        sign=SIGN[card.verdict],
        tone={"passed": "good", "failed": "bad"}.get(card.verdict, "odd"),
        several=len(sources) > 1,
        sources=[
            (source, fmt.verdict_line(source.card), _made_from(source.card), _meaning(source.card))
            for source in sources
        ],
        notes=[*_notes(sources), *problems],
        comparisons=[_comparison(comparison) for comparison in card.comparisons],
        side_by_side=_side_by_side(card),
        barriers=figures.get(BARRIER_ERRORS, ""),
        families=families,
        spreads=[_spread(card, group) for group in card.spreads],
        models=[_model(card, identity) for identity in card.calculators],
        times=[(source.name, fmt.time_lines(source.card)) for source in sources],
        marks=fmt.TOLERANCE_MARKS if _own_tolerances(card) else "",
        version=installed_version(),
    )


def _title(labels: Sequence[str]) -> str:
    named = ", ".join(labels) if len(labels) <= MOST_NAMED else f"{len(labels)} calculators"
    return f"Scorecard of {named or 'nothing'}"


def _meaning(card: Scorecard) -> str:
    return MEANING[card.verdict].format(counts=COUNTS[card.options.fail_on])


def _made_from(card: Scorecard) -> str:
    options = card.options
    said = [f"tier {options.tier}"]
    said += [f"cases of {', '.join(options.references)} as well"] if options.references else []
    return ", ".join(said)


def _notes(sources: Sequence[Source]) -> list[str]:
    """What a reader must know; with the name of the scorecard where there are several."""
    found = [(source.name, note) for source in sources for note in notes(source.card)]
    return [f"{name}: {note}" if len(sources) > 1 else note for name, note in found]


def _own_tolerances(card: Scorecard) -> bool:
    return any(row.expectation and row.expectation.tolerance.origin != "policy" for row in card.results)


# several scorecards


def _own_labels(sources: Sequence[Source]) -> list[Source]:
    """The scorecards with every calculator under a label of its own: a second one gets the name of its scorecard."""
    taken: set[str] = set()
    found = []
    for source in sources:
        names: dict[str, str] = {}
        groups = [identity.replicate_of for identity in source.card.calculators]
        for label in dict.fromkeys([*(c.label for c in source.card.calculators), *(g for g in groups if g)]):
            names[label] = _free(label, source.name, taken)
            taken.add(names[label])
        found.append(Source(source.name, _renamed(source.card, names)))
    return found


def _free(label: str, name: str, taken: set[str]) -> str:
    wanted, number = label, 1
    while wanted in taken:
        wanted = f"{label} ({name}{f' {number}' * (number > 1)})"
        number += 1
    return wanted


def _renamed(card: Scorecard, names: Mapping[str, str]) -> Scorecard:
    """A scorecard with other labels; a baseline that is not one of its calculators keeps its label."""
    if all(label == name for label, name in names.items()):
        return card
    calculators = [
        c.model_copy(update={"label": names[c.label], "replicate_of": names.get(c.replicate_of or "")})
        for c in card.calculators
    ]
    measured = {card.baseline: names[card.baseline]} if card.baseline else {}
    comparisons = [
        comparison.model_copy(
            update={
                "calculator": names[comparison.calculator],
                "baseline": measured.get(comparison.baseline, comparison.baseline),
                "changes": tuple(_of(comparison.changes, names)),
            }
        )
        for comparison in card.comparisons
    ]
    spreads = [spread.model_copy(update={"replicate_of": names[spread.replicate_of]}) for spread in card.replicates]
    return card.model_copy(
        update={
            "calculators": tuple(calculators),
            "results": tuple(_of(card.results, names)),
            "measurements": tuple(_of(card.measurements, names)),
            "comparisons": tuple(comparisons),
            "replicates": tuple(spreads),
            "baseline": names[card.baseline] if card.baseline else None,
        }
    )


def _of(records: Iterable[Any], names: Mapping[str, str]) -> list[Any]:
    return [record.model_copy(update={"calculator": names[record.calculator]}) for record in records]


def joined(sources: Sequence[Source]) -> Scorecard:
    """One scorecard with the calculators of all, and the worst of their verdicts.

    Raises
    ------
    InputError
        If a case differs: its pictures and numbers must not stand beside each other.
    """
    first, *others = sources
    if not others:
        return first.card
    cases = {case.id: (case, first) for case in first.card.cases}
    for source in others:
        for case in source.card.cases:
            known, owner = cases.setdefault(case.id, (case, source))
            other = _difference(known, case, owner.card, source.card)
            if other:
                raise InputError(
                    source.name,
                    f"{case.id} has {other} than in {owner.name}, so that the two cannot stand side by side",
                    "make a report of each, or measure the older one again",
                )
    cards = [source.card for source in sources]
    everywhere = [case for case, _ in cases.values()]
    return first.card.model_copy(
        update={
            "verdict": min((card.verdict for card in cards), key=WORST_FIRST.index),
            "calculators": tuple(identity for card in cards for identity in card.calculators),
            "cases": tuple(sorted(everywhere, key=lambda case: FAMILIES.index(case.family))),
            "results": tuple(row for card in cards for row in card.results),
            "measurements": tuple(made for card in cards for made in card.measurements),
            "replicates": tuple(spread for card in cards for spread in card.replicates),
            "comparisons": tuple(comparison for card in cards for comparison in card.comparisons),
        }
    )


def _difference(one: CaseSummary, other: CaseSummary, first: Scorecard, second: Scorecard) -> str:
    """In what two cases of one id differ; empty where they are the same."""
    what = difference(one, other)
    if what:
        return "other structures" if what == "structures" else f"another {what}"
    known, found = (
        {row.quantity: row.expectation for row in card.results if row.case == one.id and row.expectation}
        for card in (first, second)
    )
    differ = [name for name in known.keys() & found.keys() if not same_reference(known[name], found[name])]
    return f"another reference of {min(differ)}" if differ else ""


# what the page shows


def _families(card: Scorecard, figures: Mapping[str, str]) -> list[FamilyView]:
    cases = {case.id: case for case in card.cases}
    found = []
    for family in FAMILIES:
        rows: dict[str, list[ProbeResult]] = {}
        for row in card.results:
            if row.family == family:
                rows.setdefault(row.case, []).append(row)
        order = [*(name for name in cases if name in rows), *(name for name in rows if name not in cases)]
        if not order:
            continue
        views = [_case(card, name, cases.get(name), rows[name], figures.get(name, "")) for name in order]
        everything = [row for name in order for row in rows[name]]
        found.append(FamilyView(family, f"family-{family}", *_summary(everything), views))
    return found


def _summary(rows: Sequence[ProbeResult]) -> tuple[str, str]:
    """The tone of some rows, and their counts in words."""
    states = [row.verdict.state for row in rows]
    counts = ", ".join(f"{states.count(s)} {fmt.MARK[s]} {s.value}" for s in State if s in states)
    if any(state in FAILING for state in states):
        return "bad", counts
    return ("good" if State.PASSED in states else ""), counts


def _of_each(rows: Iterable[ProbeResult]) -> str:
    """How many of some rows each calculator has."""
    return ", ".join(f"{label} {count}" for label, count in Counter(row.calculator for row in rows).items())


def _case(card: Scorecard, name: str, case: CaseSummary | None, rows: list[ProbeResult], figure: str) -> CaseView:
    remarks = case_remarks(case) if case is not None else []
    remarks += [f"{line[0].upper()}{line[1:]}." for line in fmt.likeness_lines(card, name)]
    several = len({row.calculator for row in card.results}) > 1
    failing = [row for row in rows if row.verdict.state in FAILING]
    return CaseView(
        name, f"case-{quote(name, safe='')}", *_summary(rows), _of_each(failing) if several else "", case, figure,
        _results(rows, several=several), _failures(failing, several=several), _tolerances(rows), remarks,
    )  # fmt: skip


def _results(rows: list[ProbeResult], *, several: bool) -> Table:
    """All results of a case, sorted so that results of the same quantity stand together."""
    order = list(dict.fromkeys(row.quantity for row in rows))
    body = []
    for row in sorted(rows, key=lambda row: order.index(row.quantity)):
        cell = fmt.cells(row)
        said = fmt.verdict_text(row, reason=row.verdict.state not in FAILING)
        names = [Cell(row.quantity + cell["label"]), *([Cell(row.calculator)] if several else [])]
        texts = [Cell(cell[name]) for name in COLUMNS[1:]]
        body.append([*names, Cell(said, TONE.get(row.verdict.state, "dim")), *texts])
    head = ("quantity", *(("calculator",) if several else ()), *COLUMNS)
    return Table("Quantities", head, body, 1 + several, ("measured", "reference", "deviation", "tolerance"))


def _failures(rows: list[ProbeResult], *, several: bool) -> list[Failure]:
    """What failed, together where the same is to be looked at first."""
    found: dict[str, list[ProbeResult]] = {}
    for row in rows:
        found.setdefault(" ".join(row.look_first.split()), []).append(row)
    return [
        Failure([_failure(row, several=several) for row in alike], _of_each(alike) if several else "", look_first)
        for look_first, alike in found.items()
    ]


def _failure(row: ProbeResult, *, several: bool) -> tuple[str, str]:
    """What failed, and on what it was seen."""
    head = fmt.failure_text(row).partition("\n")[0]
    seen = row.measured.note if row.measured else ""
    return f"{row.calculator}: {head}" if several else head, f"Seen on {seen}." if seen else ""


def _tolerances(rows: list[ProbeResult]) -> list[str]:
    """Tolerances and minimum shares with their reasons; quantities with the same one and its reason share a line."""
    alike: dict[str, list[str]] = {}
    for quantity, said in (*tolerance_texts(rows).items(), *share_texts(rows).items()):
        alike.setdefault(said, []).append(quantity)
    return [f"{', '.join(quantities)}, {said}" for said, quantities in alike.items()]


def _comparison(comparison: Comparison) -> dict[str, Any]:
    """The changes against a baseline: what is worse first, then what calls for a remark, and what is the same last."""
    rows = fmt.change_rows(comparison)
    worse = [(change, cells) for change, cells in rows if change.regression]
    other = [(change, cells) for change, cells in rows if not change.regression and change.trend not in UNCHANGED]
    noted = [change for change in comparison.changes if change.trend in UNCHANGED and change.note]
    same = [change for change in comparison.changes if change.trend is Trend.SAME]
    return {
        "title": f"{comparison.calculator} against {comparison.baseline}",
        "line": fmt.comparison_line(comparison),
        "tone": "bad" if comparison.regressions else "good",
        "sign": "✗" if comparison.regressions else "✓",
        "counts": [
            (f"{fmt.TREND_MARK[trend]} {count} {trend.value}", TREND_TONE.get(trend, "dim"))
            for trend, count in comparison.counts().items()
        ],
        "regressions": _changes("Regressions", worse),
        "noted": [fmt.change_line(change) for change in noted if change.trend is Trend.SAME],
        "reported": [fmt.change_line(change) for change in noted if change.trend is Trend.REPORTED],
        "others": _changes("Other changes", other),
        "same": [f"{change.case}: {change.quantity}{fmt.seeds_of(change)}" for change in same],
        "left_out": comparison.left_out,
        "remarks": comparison.remarks,
    }


def _changes(caption: str, rows: Sequence[tuple[Change, list[str]]]) -> Table:
    head = ("case", "quantity", "trend", "before", "after", "reference", "change of error", "unit")
    body = []
    for change, (_, *cells) in rows:
        trend = f"{cells[-1]}: {change.note}" if change.note else cells[-1]
        tone = "bad" if change.regression else TREND_TONE.get(change.trend, "dim")
        body.append([*map(Cell, cells[:2]), Cell(trend, tone), *map(Cell, cells[2:-1])])
    return Table(caption, head, body, 2, ("before", "after", "reference", "change of error"))


def _side_by_side(card: Scorecard) -> list[tuple[Table, str]]:
    """Ranks by family and the deviations of all calculators, each with its legend; empty for a single calculator."""
    ranks, deviations = rank_table(card), side_by_side(card)
    if not deviations.rows:
        return []
    fixed = len(FIXED_COLUMNS)
    body = [
        [*map(Cell, row[:fixed]), *(Cell(text, MARK_TONE.get(text[-1:], "dim")) for text in row[fixed:])]
        for row in deviations.rows
    ]
    return [
        (
            Table("Rank by family", ranks.head, [[*map(Cell, row)] for row in ranks.rows], 1, ranks.head[3:]),
            RANK_LEGEND,
        ),
        (Table("Deviations", deviations.head, body, 2, ("tolerance", *deviations.head[fixed:])), LEGEND),
    ]


def _plain(rows: Sequence[Sequence[str]]) -> list[list[Cell]]:
    return [[*map(Cell, row)] for row in rows]


def _spread(card: Scorecard, group: str) -> Table:
    rows = card.spreads[group]
    body = _plain([(row.case, row.quantity, *fmt.spread_cells(row)) for row in rows])
    numbers = [name for name in fmt.SPREAD_COLUMNS if name != "unit"]
    return Table(fmt.spread_title(group, rows), ("case", "quantity", *fmt.SPREAD_COLUMNS), body, 2, numbers)


def _model(card: Scorecard, identity: CalculatorIdentity) -> dict[str, Any]:
    label = identity.label
    speed = [
        (Table(f"Speed: {said.path}", SPEED_COLUMNS, _plain(said.rows), 1, SPEED_COLUMNS),
         said.lines)
        for said in speed_reports(card, identity)
    ]  # fmt: skip
    made = [f"Compared {line}." for line in fmt.agreement_lines(card, label)]
    made += [f"Doubted {line}." for line in fmt.doubt_lines(card, label)]
    made += [f"Simulated {line}." for line in fmt.simulation_lines(card, label)]
    head, *lines = fmt.identity_lines(identity)
    return {"label": label, "lines": [head, *map(str.strip, lines)], "speed": speed, "made": made}
