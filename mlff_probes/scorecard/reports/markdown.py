"""The scorecard as Markdown, with links to its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlff_probes.core.records import CalculatorIdentity, ProbeResult, State
from mlff_probes.core.text import visible
from mlff_probes.scorecard.changes import Comparison
from mlff_probes.scorecard.model import CaseSummary, Scorecard
from mlff_probes.scorecard.ranks import LEGEND, RANK_LEGEND, rank_table, side_by_side
from mlff_probes.scorecard.reports import text as fmt
from mlff_probes.scorecard.reports.case_text import case_remarks, share_texts, tolerance_texts
from mlff_probes.scorecard.reports.speed import COLUMNS as SPEED_COLUMNS
from mlff_probes.scorecard.reports.speed import speed_reports
from mlff_probes.scorecard.reports.terminal import notes

COLUMNS = ("case", "quantity", "measured", "reference", "deviation", "tolerance", "unit", "verdict")


def render(
    card: Scorecard,
    *,
    figures: Mapping[str, str] | None = None,
    scripts: Mapping[str, str] | None = None,
    problems: Sequence[str] = (),
) -> str:
    """The scorecard as Markdown.

    Parameters
    ----------
    card
        The scorecard.
    figures
        Link to the figure of each case, by case id, and to the figure of all barriers, by "barrier-errors".
    scripts
        Link to the script of each worst example, by calculator, case and quantity.
    problems
        What to say of figures that could not be drawn.
    """
    lines = ["# Scorecard", "", f"**{fmt.verdict_line(card)}**", "", f"Made {card.created}, tier {card.options.tier}."]
    lines += ["", "Tolerances marked * are set by the case, † by you.", *([""] if notes(card) or problems else [])]
    lines += [f"- {note}" for note in (*notes(card), *problems)]
    for comparison in card.comparisons:
        lines += _comparison(comparison)
    lines += _side_by_side(card, (figures or {}).get("barrier-errors"))
    for identity in card.calculators:
        lines += _calculator(card, identity)
    for group, spreads in card.spreads.items():
        body = [[spread.case, spread.quantity, *fmt.spread_cells(spread)] for spread in spreads]
        lines += ["", f"## {fmt.spread_title(group, spreads)}", ""]
        lines += _table(["case", "quantity", *fmt.SPREAD_COLUMNS], body)
    lines += ["", "## Time", "", *(f"- {line}" for line in fmt.time_lines(card))]
    lines += ["", "## Cases"]
    for case in card.cases:
        rows = [row for row in card.results if row.case == case.id]
        alike = fmt.likeness_lines(card, case.id)
        lines += _case(case, rows, (figures or {}).get(case.id), scripts or {}, alike)
    one_each = (visible(line).replace("\n", " ") for line in lines)  # a line break would end a row or an item
    return "\n".join(one_each) + "\n"


def _comparison(comparison: Comparison) -> list[str]:
    """What changed against a baseline, the worst first, and what was left out."""
    lines = [
        "",
        f"## {comparison.calculator} against {comparison.baseline}",
        "",
        f"**{fmt.comparison_line(comparison)}**",
    ]
    rows = fmt.change_rows(comparison)
    if rows:
        lines += ["", *_table(fmt.CHANGE_COLUMNS, [cells for _, cells in rows])]
    notes = [f"- {c.case}, {c.quantity}: {c.note}" for c, _ in rows if c.note]
    notes += [f"- Not compared: {reason}" for reason in comparison.left_out]
    notes += [f"- {_sentence(remark)}" for remark in comparison.remarks]
    return [*lines, "", *notes] if notes else lines


def _side_by_side(card: Scorecard, figure: str | None) -> list[str]:
    """Rank by family and the deviations of all calculators, where there are several."""
    texts, ranks = side_by_side(card), rank_table(card)
    lines = ["", "## Rank by family", "", *_table(ranks.head, ranks.rows), "", f"{_sentence(RANK_LEGEND)}."]
    lines += ["", "## Side by side", "", *_table(texts.head, texts.rows), "", f"{_sentence(LEGEND)}."]
    drawn = ["", f"![Errors of the barriers]({figure})"] if figure else []
    return [*lines, *drawn] if texts.rows else []


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _calculator(card: Scorecard, identity: CalculatorIdentity) -> list[str]:
    lines = ["", f"## {identity.label}", "", "```", *fmt.identity_lines(identity), "```", ""]
    rows = fmt.summary_rows(card, identity.label)
    used = [state for state in State if any(counts[state] for _, counts in rows)]
    lines += _table(["family", *(s.value for s in used)], [[f, *(str(c[s]) for s in used)] for f, c in rows])
    for report in speed_reports(card, identity):
        lines += ["", f"Speed: {report.path}.", "", *_table(SPEED_COLUMNS, report.rows), ""]
        lines += [f"- {line}." for line in report.lines]
    made = [f"- Compared {line}." for line in fmt.agreement_lines(card, identity.label)]
    made += [f"- Doubted {line}." for line in fmt.doubt_lines(card, identity.label)]
    made += [f"- Simulated {line}." for line in fmt.simulation_lines(card, identity.label)]
    lines += ["", *made] if made else []
    for family in card.families(identity.label):
        body = []
        for row in card.rows(identity.label, family):
            cell = {"case": row.case, **fmt.cells(row)}
            cell["quantity"] = row.quantity + cell["label"]
            cell["verdict"] = fmt.verdict_text(row)
            body.append([cell[column] for column in COLUMNS])
        lines += ["", f"### {identity.label}: {family}", "", *_table(COLUMNS, body)]
    return lines


def _case(
    case: CaseSummary, rows: list[ProbeResult], figure: str | None, scripts: Mapping[str, str], alike: list[str]
) -> list[str]:
    lines = ["", f"### {case.id}", "", f"{case.title}. Reference: {case.level_of_theory}; {case.source}.", ""]
    lines += [f"- {remark}" for remark in case_remarks(case)]
    lines += [f"- {_sentence(line)}." for line in alike]
    lines += [f"- Tolerance of {quantity}, {said}" for quantity, said in tolerance_texts(rows).items()]
    lines += [f"- {quantity}: {said}" for quantity, said in share_texts(rows).items()]
    for row in rows:
        script = scripts.get(f"{row.calculator}-{row.case}-{row.quantity}")
        if script and row.measured:
            lines.append(f"- {row.quantity} of {row.calculator}, {row.measured.note} ([script]({script})).")
    failing = [row for row in rows if row.verdict.state in (State.FAILED, State.ERROR)]
    if failing and failing[0].look_first:
        lines += ["", " ".join(failing[0].look_first.split())]
    return [*lines, "", f"![{case.title}]({figure})"] if figure else lines


def _table(head: tuple[str, ...] | list[str], body: list[list[str]]) -> list[str]:
    def line(texts: tuple[str, ...] | list[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in body)]
