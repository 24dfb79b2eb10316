"""What failed, as annotations of GitHub Actions: lines on stdout that it shows above the log of a run.

Source of the format: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from mlff_probes.core.records import ProbeResult
from mlff_probes.core.text import visible
from mlff_probes.core.units import number
from mlff_probes.scorecard.changes import Change
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.reports import text as fmt

MOST = 10
"""Errors that GitHub shows of one step; it drops the others without a word."""


def annotate(card: Scorecard) -> list[str]:
    """An error for the verdict if it is not green, each change for the worse, and each failing quantity if it counts.

    Where they are more than `MOST`, the last one counts those that are left out. A green scorecard has none.
    """
    changes = [change for comparison in card.comparisons for change in comparison.regressions]
    changes = changes if card.options.fail_on != "tolerance" else []
    worse = {(change.calculator, change.case, change.quantity) for change in changes}
    failing = [
        row
        for row in card.results
        if card.options.fail_on != "regression"
        and row.failing(strict=card.options.strict)
        and row.calculator != card.baseline
        and (row.calculator, row.case, row.quantity) not in worse
    ]
    found = [*map(_of_change, changes), *map(_of_result, failing)]
    if card.verdict != "passed":
        found.insert(0, _error(f"force field: {card.verdict}", fmt.verdict_line(card)))
    if len(found) > MOST:
        left_out = len(found) - (MOST - 1)
        more = _error(
            f"{left_out} more", f"{left_out} more quantities failed or became worse; the scorecard has them all"
        )
        found = [*found[: MOST - 1], more]
    return found


def _of_change(change: Change) -> str:
    said = [change.trend.value]
    if change.change is not None:
        said.append(f"error {number(change.change, change.unit, sign=True)} {change.unit} against the baseline")
    if change.note:
        said.append(change.note)
    return _error(_title(change), ": ".join(said))


def _of_result(row: ProbeResult) -> str:
    return _error(_title(row), fmt.failure_text(row))


def _title(of: Change | ProbeResult) -> str:
    return f"{of.calculator}, {of.case}: {of.quantity}"


def _error(title: str, message: str) -> str:
    title = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::error title={title}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\n", "%0A")
