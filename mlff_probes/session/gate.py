"""What a run is compared with, and what it fails on: `--probe-baseline` and `--probe-fail-on`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from mlff_probes.core.case import Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import Expectation, ProbeResult
from mlff_probes.measure import BY_KIND
from mlff_probes.scorecard import files
from mlff_probes.scorecard.baseline import Baseline, baseline_of
from mlff_probes.scorecard.changes import Change, Comparison
from mlff_probes.scorecard.comparison import Comparer, compare, has_verdict, several
from mlff_probes.scorecard.model import CaseSummary, FailOn, Scorecard
from mlff_probes.scorecard.regression import RegressionPolicy
from mlff_probes.session.models import BASELINE
from mlff_probes.session.suite import ProbeRequest, Suite

WRITTEN_TOO = (".md", ".csv", ".html")
"""Suffixes of scorecards that are written to be looked at."""


def stored_baseline(given: str) -> Baseline | None:
    """The baseline in the scorecard that ``FILE.json[,label=…]`` names; None where a calculator is named instead.

    Raises
    ------
    InputError
        If the file is no scorecard that can be read, or holds no such calculator.
    """
    name, _, label = given.partition(",label=")
    path = Path(name).expanduser()
    if not name:
        raise InputError("", f"{BASELINE} is empty", "name a scorecard (old.json) or a calculator, or leave it out")
    if path.suffix.lower() in WRITTEN_TOO:
        raise InputError(f"{BASELINE}={given}", f"name the scorecard as .json; nothing is read back from {path.suffix}")
    if path.suffix.lower() != ".json":
        return None
    try:
        return baseline_of(files.read(path), name, label or None)
    except InputError as error:
        raise error.within(BASELINE) from error


class LiveRows(Mapping[tuple[str, str], ProbeResult]):
    """The results of a calculator of the run, each measured when it is asked for."""

    def __init__(self, suite: Suite, label: str) -> None:
        self._suite, self._label = suite, label
        requests = (request for kind in BY_KIND for request in suite.requests(kind))
        self._keys = {(r.case, r.quantity): r for r in requests if r.calculator == label}

    def __getitem__(self, key: tuple[str, str]) -> ProbeResult:
        """The result of a case and a quantity."""
        return self._suite.result(self._keys[key])

    def __contains__(self, key: object) -> bool:
        """Whether a case and a quantity will have a result, without measuring it."""
        return key in self._keys

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """All cases and quantities."""
        return iter(self._keys)

    def __len__(self) -> int:
        """How many results there are."""
        return len(self._keys)


class Gate:
    """Compares the calculators of a run with a baseline, and says what fails.

    Parameters
    ----------
    suite
        The run, the calculator that is the baseline among its calculators where it is no stored one.
    policy
        When a change counts.
    fail_on
        What the run fails on.
    stored
        The baseline, where it is stored.
    live
        The label of the calculator that is the baseline, where that is one of the run.
    """

    def __init__(
        self,
        suite: Suite,
        policy: RegressionPolicy,
        fail_on: FailOn = "tolerance",
        *,
        stored: Baseline | None = None,
        live: str | None = None,
    ) -> None:
        self.suite, self.policy, self.fail_on, self.live = suite, policy, fail_on, live
        judged = sum(len(case.expectations) for case in suite.cases if isinstance(case, Case))
        self.baseline = Baseline(live, live, LiveRows(suite, live), judged) if live else stored

    def check(self, requests: Iterable[ProbeRequest]) -> None:
        """See that something of what is to be measured can be compared with a stored baseline.

        Raises
        ------
        InputError
            If nothing can.
        """
        if self.live or self.baseline is None:
            return
        expected = {request: self.suite.expectation(request) for request in requests}
        judged = {request: found for request, found in expected.items() if found is not None} or expected
        reasons = [self._not_compared(request, found) for request, found in judged.items()]
        if reasons and all(reasons):
            raise InputError(
                f"{BASELINE}={self.baseline.source}",
                f"holds nothing that can be compared with this run: {several(reasons)}",
            )

    def change(self, result: ProbeResult) -> Change | None:
        """What became of a quantity; None without a baseline, for the baseline itself, or where it is not compared."""
        if self.baseline is None or result.calculator == self.live:
            return None
        return self._comparer.change(result)

    def comparisons(self, card: Scorecard) -> tuple[Comparison, ...]:
        """The comparison of each calculator of a scorecard that has any result; none without a baseline."""
        if self.baseline is None:
            return ()
        baseline = self.baseline
        if self.live:  # as far as it was measured: now is not the time to measure the rest
            keys = {(row.case, row.quantity) for row in card.results}
            baseline = replace(
                baseline, rows={key: baseline.rows[key] for key in baseline.rows if key in keys and self.knows(key[0])}
            )
        labels = [identity.label for identity in card.calculators if identity.label != self.live]
        return tuple(
            compare(baseline, card, label, self.policy, self._candidates) for label in labels if card.rows(label)
        )

    def knows(self, case: str) -> bool:
        """Whether nothing has to be measured any more to compare with the baseline's result on a case."""
        return self.live is None or not self.suite.measurable(case) or (self.live, case) in self.suite.measurements

    def fails(self, result: ProbeResult, change: Change | None, *, strict: bool) -> bool:
        """Whether a result makes the run fail."""
        by_tolerance, by_regression = result.failing(strict=strict), change is not None and change.regression
        if result.calculator == self.live:
            return False
        return {
            "tolerance": by_tolerance,
            "regression": by_regression,
            "both": by_tolerance or by_regression,
        }[self.fail_on]

    @property
    def _candidates(self) -> int:
        return len(self.suite.calculators) - (self.live is not None)

    @cached_property
    def _comparer(self) -> Comparer:
        assert self.baseline is not None
        cases = [CaseSummary.of(case) for case in self.suite.cases if isinstance(case, Case)]
        return Comparer(self.baseline, cases, self.policy, self._candidates)

    def _not_compared(self, request: ProbeRequest, expectation: Expectation | None) -> str:
        """Why a quantity cannot be compared with a stored baseline; empty where it can."""
        assert self.baseline is not None
        case, quantity = request.case, request.quantity
        if reason := self._comparer.not_comparable(case):
            return reason
        row = self.baseline.rows.get((case, quantity))
        if row is None or not has_verdict(row):
            return f"{case}, {quantity}: no verdict in {self.baseline.source}"
        return self._comparer.another_reference(case, quantity, expectation)
