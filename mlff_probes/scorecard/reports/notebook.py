"""The scorecard as an HTML fragment, for a notebook."""

from __future__ import annotations

from html import escape

from mlff_probes.core.records import State
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.reports import text as fmt
from mlff_probes.scorecard.reports.terminal import notes

COLOR = {
    State.PASSED: "#1a7f37",
    State.FAILED: "#cf222e",
    State.ERROR: "#cf222e",
    State.NOT_COMPARABLE: "#9a6700",
    State.KNOWN_FAILURE: "#9a6700",
}
"""Readable on a light and on a dark page."""

COLUMNS = ("calculator", "case", "quantity", "measured", "reference", "deviation", "tolerance", "unit", "verdict")
NUMBERS = ("measured", "reference", "deviation", "tolerance")


def table(card: Scorecard) -> str:
    """The verdict and the table of results; everything that comes from files or models is escaped."""
    lines = [f"<p><b>{escape(fmt.verdict_line(card))}</b></p>"]
    lines += [f"<p>note: {escape(note)}</p>" for note in notes(card)]
    lines += ["<table>", "<thead><tr>", *(f"<th>{name}</th>" for name in COLUMNS), "</tr></thead>", "<tbody>"]
    for row in card.results:
        cell = fmt.cells(row) | {"calculator": row.calculator, "case": row.case}
        cell["quantity"] = row.quantity + cell["label"]
        cell["verdict"] = fmt.verdict_text(row)
        lines.append("<tr>")
        for name in COLUMNS:
            style = f"text-align: {'right' if name in NUMBERS else 'left'}"
            if name == "verdict" and row.verdict.state in COLOR:
                style += f"; color: {COLOR[row.verdict.state]}"
            lines.append(f'<td style="{style}">{escape(cell[name])}</td>')
        lines.append("</tr>")
    lines += ["</tbody>", "</table>"]
    if any(row.expectation and row.expectation.tolerance.origin != "policy" for row in card.results):
        lines.append(f"<p>{escape(fmt.TOLERANCE_MARKS)}</p>")
    return "\n".join([*lines, *_spreads(card)])


def _spreads(card: Scorecard) -> list[str]:
    lines: list[str] = []
    for group, rows in card.spreads.items():
        head = ("case", "quantity", *fmt.SPREAD_COLUMNS)
        lines += [f"<p><b>{escape(fmt.spread_title(group, rows))}</b></p>", "<table>", "<tr>"]
        lines += [*(f"<th>{name}</th>" for name in head), "</tr>"]
        for spread in rows:
            cells = (spread.case, spread.quantity, *fmt.spread_cells(spread))
            lines += ["<tr>", *(f"<td>{escape(text)}</td>" for text in cells), "</tr>"]
        lines.append("</table>")
    return lines
