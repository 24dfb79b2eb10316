"""The `probe` fixture: what a test of the suite calls."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mlff_probes.core.records import ProbeResult, State
from mlff_probes.scorecard.changes import Change
from mlff_probes.scorecard.reports.text import failure_text
from mlff_probes.session.budget import Budget
from mlff_probes.session.gate import Gate
from mlff_probes.session.suite import ProbeRequest, Suite

RESULT = pytest.StashKey[ProbeResult]()
"""Where an item keeps its result for the report."""


LEFT_OUT = pytest.StashKey[dict[str, str]]()
"""Where an item keeps why a budget left it out."""


class Probe:
    """The `probe` fixture: one quantity of one case for one calculator."""

    def __init__(
        self, suite: Suite, gate: Gate, request: ProbeRequest, item: pytest.Item, *, strict: bool, budget: Budget | None
    ) -> None:
        self._suite, self._gate, self._request, self._item, self._strict = suite, gate, request, item, strict
        self._budget = budget

    def check(self) -> None:
        """Measure (once for all quantities of a case), judge, and end the test accordingly."""
        if self._budget is not None:
            pair = (self._request.calculator, self._request.case)
            if why := self._budget.why_left_out(pair):
                self._item.stash[LEFT_OUT] = {"calculator": pair[0], "case": pair[1], "reason": why}
                pytest.skip(f"left out: {why}")
        look_first = _look_first(getattr(self._item, "function", None))
        result = self._suite.result(self._request, look_first=look_first)
        self._item.stash[RESULT] = result
        change = self._gate.change(result)
        self._item.user_properties.extend(properties(result, change))
        state = result.verdict.state
        if self._gate.fails(result, change, strict=self._strict):
            pytest.fail(failure_text(result, change), pytrace=False)
        if result.failing(strict=self._strict):
            pytest.xfail(f"{state.value}, which does not count here: {not_counted(self._gate.live, result)}")
        if state is State.KNOWN_FAILURE:
            pytest.xfail(result.verdict.reason)
        if state in (State.NOT_APPLICABLE, State.NOT_COMPARABLE):
            pytest.skip(f"{state.value}: {result.verdict.reason}")


def _look_first(function: Any) -> str:
    """The paragraph of a probe's docstring that says what to look at first."""
    doc = inspect.getdoc(function) or ""
    start = doc.find("Look first at")
    return doc[start:].strip() if start >= 0 else ""


def not_counted(baseline: str | None, result: ProbeResult) -> str:
    """Why a result that fails does not make the run fail."""
    return "the baseline" if result.calculator == baseline else "no regression (--probe-fail-on=regression)"


def properties(result: ProbeResult, change: Change | None = None) -> list[tuple[str, object]]:
    """The numbers of a result, and of its change, as JUnit properties."""
    expected, measured = result.expectation, result.measured
    found: dict[str, object] = {
        "calculator": result.calculator,
        "case": result.case,
        "quantity": result.quantity,
        "verdict": result.verdict.state.value,
        "measured": measured.value if measured else None,
        "unit": measured.unit if measured else None,
        "deviation": result.verdict.deviation,
    }
    if expected is not None:
        found |= {
            "reference": expected.value,
            "uncertainty": expected.uncertainty,
            "tolerance": expected.tolerance.value,
            "tolerance_origin": expected.tolerance.origin,
            "level_of_theory": expected.level_of_theory,
            "source": expected.source,
        }
    if measured is not None and measured.samples is not None:
        found["samples"] = str(measured.samples)
    if change is not None:
        found |= {"trend": change.trend.value, "change": change.change, "change_uncertainty": change.uncertainty}
    return [(name, value) for name, value in found.items() if value is not None]
