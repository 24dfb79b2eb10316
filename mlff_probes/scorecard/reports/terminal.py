"""The scorecard as a table for a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from mlff_probes.core.records import NOT_STATED, ProbeResult, State
from mlff_probes.core.text import visible
from mlff_probes.scorecard.changes import Comparison, Trend
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.ranks import FIXED_COLUMNS, LEGEND, NEAREST, RANK_LEGEND, Texts, rank_table, side_by_side
from mlff_probes.scorecard.reports import text as fmt
from mlff_probes.scorecard.reports.speed import COLUMNS, SpeedReport, speed_reports

STYLE = {
    State.PASSED: "green",
    State.FAILED: "red",
    State.ERROR: "bold red",
    State.NOT_APPLICABLE: "dim",
    State.NOT_COMPARABLE: "yellow",
    State.REPORTED: "dim",
    State.KNOWN_FAILURE: "yellow",
}

CHANGE_NUMBERS = ("before", "after", "reference", "change of error")
TREND_STYLE = {
    Trend.BETTER: "green",
    Trend.NEWLY_PASSING: "green",
    Trend.WORSE: "red",
    Trend.NEWLY_FAILING: "bold red",
    Trend.GONE: "red",
    Trend.NEW: "dim",
}

MIN_WIDTH = 80
"""Narrower than this the table would break its numbers; the terminal then wraps the lines instead."""

FIT = 10_000
"""Wide enough for any table to be measured."""

MOST_ROWS = 1000
"""Of a longer table only what did not pass is shown, and no more than this of it."""

LABEL_WIDTH = 16
"""Longer names of calculators are folded where each has a column."""

LOG_WIDTH = 140
"""Columns of the scorecard where it goes into a file or a pipe."""


def render(card: Scorecard, *, width: int = LOG_WIDTH, color: bool = False) -> str:
    """The scorecard as text: a table for each calculator, a summary by family, timing, the verdict.

    Parameters
    ----------
    card
        The scorecard.
    width
        Columns of the terminal; at least `MIN_WIDTH` are used.
    color
        Whether to write ANSI colours.
    """
    return _printed(lambda console: _parts(card, console), width, color=color)


def render_comparisons(card: Scorecard, *, width: int = LOG_WIDTH, color: bool = False) -> str:
    """The changes against a baseline alone, as text."""

    def parts(console: Console) -> list[RenderableType]:
        return [part for comparison in card.comparisons for part in _comparison(comparison, console)]

    return _printed(parts, width, color=color)


def _printed(parts: Callable[[Console], list[RenderableType]], width: int, *, color: bool) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=max(width, MIN_WIDTH), force_terminal=color, color_system="standard" if color else None,
        highlight=False, markup=False, soft_wrap=False, force_jupyter=False,
    )  # fmt: skip
    for part in parts(console):
        # after the layout, so that no text is forgotten, and before the colours, which are control characters too
        console.print(Segments(s._replace(text=visible(s.text)) for s in console.render(part)))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _parts(card: Scorecard, console: Console) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for identity in card.calculators:
        if not card.rows(identity.label):
            continue
        table, *below = _results(card, identity.label, wide=True)
        if Measurement.get(console, console.options.update(width=FIT), table).maximum > console.width:
            table, *below = _results(card, identity.label, wide=False)
        parts += [Text(f"{identity.label} against the references", style="bold"), table, *below]
        parts += [Text(), *_summary(card, identity.label), Text()]
        for report in speed_reports(card, identity):
            parts += _speed(report)
        parts += [Text(f"compared {line}") for line in fmt.agreement_lines(card, identity.label)]
        parts += [Text(f"doubted {line}") for line in fmt.doubt_lines(card, identity.label)]
        parts += [Text(f"simulated {line}") for line in fmt.simulation_lines(card, identity.label)]
        parts.append(Text())
    parts += _spreads(card)
    for comparison in card.comparisons:
        parts += _comparison(comparison, console)
    parts += _side_by_side(card, console)
    parts += [Text(f"{case.id}: {line}") for case in card.cases for line in fmt.likeness_lines(card, case.id)]
    parts += [Text(line) for line in fmt.time_lines(card)]
    parts += [Text(f"note: {line}", style="yellow") for line in notes(card)]
    verdict_style = "bold green" if card.verdict == "passed" else "bold red"
    parts.append(Text(fmt.verdict_line(card), style=verdict_style))
    return parts


def _dropped(card: Scorecard) -> list[str]:
    """What a model may read and what structures that were made of others could not carry, each once."""
    found: dict[str, dict[str, None]] = {}
    for measurement in card.measurements:
        for said in measurement.diagnostics.get("dropped", ()):
            found.setdefault(said, {})[measurement.case] = None
    return [f"dropped from structures made of others in {', '.join(cases)}: {said}" for said, cases in found.items()]


def _mixtures(card: Scorecard) -> list[str]:
    """At which of its levels a calculator of several was judged, and in which cases where these are not all."""
    found = []
    for identity in card.calculators:
        cases: dict[str, dict[str, None]] = {}
        for row in card.rows(identity.label):
            if row.calculator_level:
                cases.setdefault(row.calculator_level, {})[row.case] = None
        said = [level + (f" in {', '.join(names)}" if len(cases) > 1 else "") for level, names in cases.items()]
        if said:
            found.append(
                f"{identity.label} learned {identity.level_of_theory}, which depends on the structure: "
                f"here it is {'; '.join(said)}"
            )
    return found


def notes(card: Scorecard) -> list[str]:
    """What a reader must know of how this run was judged."""
    found = _overridden(card)
    found += [
        f"{identity.label} does not state its level of theory and is judged as if it had the references'; "
        "say what it learned with ,level=… or an attribute level_of_theory"
        for identity in card.calculators
        if identity.level_of_theory is None and card.rows(identity.label)
    ]
    found += [
        f"{case.id} does not state the level of theory of its energies, taken as the calculator's"
        for case in card.cases
        if case.level_of_theory == NOT_STATED and case.reference_arrays
    ]
    found += _mixtures(card)
    found += _dropped(card)
    found += [
        f"the checkpoint of {identity.label} was refused by the check and loaded all the same "
        "(--probe-trust-checkpoint): code that is in it may have run"
        for identity in card.calculators
        if identity.checkpoint == "unchecked"
    ]
    found += [
        f"{identity.label} says that it computes in float64, and computes in float32: mend what makes it"
        for identity in card.calculators
        if any("computed_in" in m.diagnostics for m in card.measurements if m.calculator == identity.label)
    ]
    found += [
        f"{identity.label} changes {' and '.join(changed)}: so it is in its own calls, and put back for all else"
        for identity in card.calculators
        if (changed := fmt.left_behind(card, identity))
    ]
    if card.options.any_level_of_theory:
        found.append("judged whatever the calculator's level of theory (--probe-level-of-theory=any)")
    if card.options.known_failures:
        known = sum(row.verdict.state is State.KNOWN_FAILURE for row in card.results)
        found.append(f"known failures of {card.options.known_failures} do not count: {known} in this run")
    if card.options.strict:
        found.append("not applicable counts as failed (--probe-strict)")
    return found


def _overridden(card: Scorecard) -> list[str]:
    """What the user's file of tolerances changed of what is in use."""
    file, expected = card.options.tolerances, [(row, row.expectation) for row in card.results if row.expectation]
    if not file:
        return []
    changed = {
        f"{row.family}.{row.quantity} {limit.tolerance.value:g} {limit.unit}"
        for row, limit in expected
        if limit.tolerance.origin == "override"
    }
    shares = {
        f"{row.family} {100 * limit.minimum_share.value:g} %"
        for row, limit in expected
        if limit.minimum_share and limit.minimum_share.origin == "override"
    }
    found = [f"tolerances overridden by {file}: {', '.join(sorted(changed)) or 'none in use'}"]
    return [*found, f"share of the samples that is enough, by {file}: {', '.join(sorted(shares))}"] if shares else found


def _results(card: Scorecard, calculator: str, *, wide: bool) -> list[RenderableType]:
    """The table of one calculator, and below it why some rows have no verdict of their own.

    Where the columns do not fit, the case is a heading above its rows instead of `wide` columns of family and case.
    """
    table = _table()
    for name in ("family", "case") if wide else ():
        table.add_column(name, no_wrap=True)
    table.add_column("quantity", no_wrap=True)
    for name in ("measured", "reference", "deviation", "tolerance"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("unit", "verdict"):
        table.add_column(name, no_wrap=True)
    last = ("", "")
    reasons: dict[str, int] = {}
    rows = card.rows(calculator)
    shown = rows if len(rows) <= MOST_ROWS else [r for r in rows if r.verdict.state is not State.PASSED][:MOST_ROWS]
    for row in shown:
        here = (row.family, row.case)
        if here != last and last[0]:
            table.add_section()
        if wide:
            place = [row.family if row.family != last[0] else "", row.case if here != last else ""]
        else:
            place = []
            if here != last:
                table.add_row(Text(row.case, style="bold"))
        table.add_row(*place, *_cells(row, reasons))
        last = here
    footnotes = [Text(f"[{index}] {reason}") for reason, index in reasons.items()]
    if len(shown) < len(rows):
        left_out = f"{len(rows) - len(shown)} of {len(rows)} rows are not shown, all that passed among them"
        footnotes.append(Text(f"{left_out}; --probe-scorecard=FILE holds every row", style="dim"))
    if any(r.expectation and r.expectation.tolerance.origin != "policy" for r in rows):
        footnotes.append(Text(fmt.TOLERANCE_MARKS, style="dim"))
    return [table, *footnotes]


def _cells(row: ProbeResult, reasons: dict[str, int]) -> list[str | Text]:
    cell, state = fmt.cells(row), row.verdict.state
    verdict = f"{fmt.MARK[state]} {cell['verdict']}{fmt.coverage(row.measured)}"
    for said in fmt.remarks(row):
        verdict += f" [{reasons.setdefault(said, len(reasons) + 1)}]"
    numbers = [cell[name] for name in ("measured", "reference", "deviation", "tolerance", "unit")]
    return [row.quantity, *numbers, Text(verdict, style=STYLE[state])]


def _speed(report: SpeedReport) -> list[RenderableType]:
    """The table of what was timed, under the path it was timed on."""
    table = _table()
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(*row)
    return [Text(f"speed: {report.path}"), table, *map(Text, report.lines)]


def _comparison(comparison: Comparison, console: Console) -> list[RenderableType]:
    """What changed against a baseline, the worst first, and what was left out; as lines where a table does not fit."""
    parts: list[RenderableType] = []
    rows = fmt.change_rows(comparison)
    if rows:
        table = _table()
        for name in fmt.CHANGE_COLUMNS:
            table.add_column(name, justify="right" if name in CHANGE_NUMBERS else "left", no_wrap=True)
        for change, cells in rows[:MOST_ROWS]:
            table.add_row(*cells[:-1], Text(cells[-1], style=TREND_STYLE.get(change.trend, "")))
        fits = Measurement.get(console, console.options.update(width=FIT), table).maximum <= console.width
        parts += [Text(f"{comparison.calculator} against {comparison.baseline}: changes", style="bold")]
        parts += [table] if fits else [Text(fmt.change_line(change)) for change, _ in rows[:MOST_ROWS]]
    notes = dict.fromkeys(f"{c.case}, {c.quantity}: {c.note}" for c, _ in rows if c.note)
    parts += [Text(note, style="dim") for note in notes]
    parts += [Text(f"not compared: {reason}", style="dim") for reason in comparison.left_out]
    parts += [Text(f"note: {remark}", style="yellow") for remark in comparison.remarks]
    style = "bold red" if comparison.regressions else "bold green"
    return [*parts, Text(fmt.comparison_line(comparison), style=style), Text()]


def _spreads(card: Scorecard) -> list[RenderableType]:
    """Mean and spread of each quantity over replicate checkpoints."""
    parts: list[RenderableType] = []
    for group, rows in card.spreads.items():
        table = _table()
        for name in ("case", "quantity"):
            table.add_column(name, no_wrap=True)
        for name in fmt.SPREAD_COLUMNS:
            table.add_column(name, justify="left" if name == "unit" else "right", no_wrap=True)
        last = ""
        for spread in rows:
            table.add_row(spread.case if spread.case != last else "", spread.quantity, *fmt.spread_cells(spread))
            last = spread.case
        parts += [Text(fmt.spread_title(group, rows), style="bold"), table, Text()]
    return parts


def _side_by_side(card: Scorecard, console: Console) -> list[RenderableType]:
    """What each calculator is off by, in as many tables as their columns need, and their rank by family.

    Where names do not fit, the calculators are numbered, and the numbers explained below.
    """
    texts, ranks = side_by_side(card), rank_table(card)
    if not texts.rows:
        return []
    fixed = len(FIXED_COLUMNS)
    labels = texts.head[fixed:]
    shown = texts.rows
    if len(shown) > MOST_ROWS:
        passed = fmt.MARK[State.PASSED]
        shown = [row for row in shown if not all(text.endswith(passed) for text in row[fixed:])][:MOST_ROWS]
    everything = list(range(fixed, len(texts.head)))
    wide = console.options.update(width=FIT)
    beside = [_beside(Texts(texts.head, shown), everything)]
    by_family = _ranks(ranks)
    whole = Measurement.get(console, wide, beside[0]).maximum <= console.width
    names: list[Text] = []
    if not whole or Measurement.get(console, wide, by_family).minimum > console.width:
        numbers = {label: f"#{index}" for index, label in enumerate(labels, 1)}
        names = [Text(f"{number}: {label}", style="dim") for label, number in numbers.items()]
        beside = _split(Texts((*FIXED_COLUMNS, *numbers.values()), shown), everything, console)
        rows = [[row[0], row[1], numbers[row[2]], *row[3:]] for row in ranks.rows]
        by_family = _ranks(Texts(ranks.head, rows))
    parts: list[RenderableType] = [Text("side by side", style="bold")]
    for table in beside:
        parts += [table, Text()]
    if len(shown) < len(texts.rows):
        left_out = f"{len(texts.rows) - len(shown)} of {len(texts.rows)} rows are not shown, all that passed among them"
        parts.append(Text(left_out, style="dim"))
    parts += [*names, Text(LEGEND, style="dim"), Text(), Text("rank by family", style="bold"), by_family]
    return [*parts, Text(RANK_LEGEND, style="dim"), Text()]


def _split(texts: Texts, calculators: list[int], console: Console) -> list[Table]:
    """The columns of calculators in one table or several; each of several says which calculator is the nearest."""
    tables: list[Table] = []
    left = calculators
    while left:
        for count in range(len(left), 0, -1):
            table = _beside(texts, left[:count], nearest=count < len(calculators))
            if Measurement.get(console, console.options.update(width=FIT), table).maximum <= console.width:
                break
        tables.append(table)
        left = left[count:]
    return tables


def _ranks(texts: Texts) -> Table:
    table = _table()
    for name in texts.head:
        justify: Literal["left", "right"] = "left" if name in ("family", "calculator") else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name == "calculator")
    family = ""
    for row in texts.rows:
        table.add_row(row[0] if row[0] != family else "", *row[1:])
        family = row[0]
    return table


def _beside(texts: Texts, calculators: list[int], *, nearest: bool = False) -> Table:
    """Some of the columns of calculators, under their cases as headings; with a column for the `nearest` of all."""
    state = {mark: state for state, mark in fmt.MARK.items()}
    table = _table()
    _, *fixed = FIXED_COLUMNS
    for name in fixed:
        table.add_column(name, justify="right" if name == "tolerance" else "left", no_wrap=True)
    if nearest:
        table.add_column(NEAREST, no_wrap=True)
    for column in calculators:
        table.add_column(texts.head[column], justify="right", overflow="fold", max_width=LABEL_WIDTH)
    case = ""
    for row in texts.rows:
        if row[0] != case:
            table.add_row(Text(row[0], style="bold"))
            case = row[0]
        found = [row[column] for column in calculators]
        styled = [Text(text, style=STYLE[state[text[-1]]]) if text else "" for text in found]
        marked = [name for name, text in zip(texts.head, row, strict=True) if text.startswith(NEAREST)]
        table.add_row(*row[1 : len(FIXED_COLUMNS)], *(["".join(marked)] if nearest else []), *styled)
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)


def _summary(card: Scorecard, calculator: str) -> list[RenderableType]:
    rows = fmt.summary_rows(card, calculator)
    used = [state for state in State if any(counts[state] for _, counts in rows)]
    table = _table()
    table.add_column("family")
    for state in used:
        table.add_column(state.value, justify="right")
    for family, counts in rows:
        table.add_row(family, *(str(counts[state]) for state in used))
    return [Text(f"{calculator} by family", style="bold"), table]
