"""What a run is compared with, and what it fails on: `--probe-baseline` and `--probe-fail-on`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from mlff_probes.errors import InputError
from mlff_probes.protocols import BY_KIND
from mlff_probes.records import Case, ProbeResult
from mlff_probes.scorecard import files
from mlff_probes.scorecard.changes import Change, Comparison
from mlff_probes.scorecard.comparison import Baseline, Comparer, baseline_of, compare
from mlff_probes.scorecard.model import CaseSummary, FailOn, Scorecard
from mlff_probes.suite import ProbeRequest, Suite
from mlff_probes.tolerances import RegressionPolicy

OPTION = "--probe-baseline"


def stored_baseline(given: str) -> Baseline | None:
    """The baseline in the scorecard that ``FILE.json[,label=…]`` names; None where a calculator is named instead.

    Raises
    ------
    InputError
        If the file is no scorecard that can be read, or holds no such calculator.
    """
    name, _, label = given.partition(",label=")
    path = Path(name).expanduser()
    if path.suffix.lower() != ".json":
        return None
    try:
        return baseline_of(files.read(path), name, label or None)
    except InputError as error:
        raise InputError(f"{OPTION}={given}: {error}") from error


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
        """Whether it will have a result, without measuring it."""
        return key in self._keys

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """All cases and quantities."""
        return iter(self._keys)

    def __len__(self) -> int:
        """How many there are."""
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

    Raises
    ------
    InputError
        If the stored baseline holds nothing that can be compared.
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
        self.baseline = Baseline(live, live, LiveRows(suite, live)) if live else stored
        if stored is not None and not any(map(self._is_compared, self._requests())):
            raise InputError(
                f"{OPTION}={stored.source}: holds nothing that can be compared with this run: "
                + ("; ".join(filter(None, map(self._comparer.not_comparable, self._comparer.cases))) or "no case is")
            )

    def change(self, result: ProbeResult) -> Change | None:
        """What became of a quantity; None without a baseline, for the baseline itself, or where it is not compared."""
        if self.baseline is None or result.calculator == self.live:
            return None
        return self._comparer.change(result)

    def comparisons(self, card: Scorecard) -> tuple[Comparison, ...]:
        """The comparison of each calculator of a scorecard; none where nothing of it has a result that is compared."""
        if self.baseline is None:
            return ()
        baseline = self.baseline
        if self.live:
            rows = {(row.case, row.quantity): row for row in card.rows(self.live)}
            baseline = Baseline(self.live, baseline.source, rows)
        found = []
        for identity in card.calculators:
            if identity.label != self.live and card.rows(identity.label):
                found.append(compare(baseline, card, identity.label, self.policy, comparisons=self._count))
        return tuple(found)

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

    @cached_property
    def _comparer(self) -> Comparer:
        assert self.baseline is not None
        cases = [CaseSummary.of(case) for case in self.suite.cases if isinstance(case, Case)]
        return Comparer(self.baseline, cases, self.policy, self._count)

    @cached_property
    def _count(self) -> int:
        """How many quantities of the whole run are judged against the baseline, selected or not."""
        assert self.baseline is not None
        judged = {(c.id, e.quantity) for c in self.suite.cases if isinstance(c, Case) for e in c.expectations}
        return sum(
            (r.case, r.quantity) in judged and (r.case, r.quantity) in self.baseline.rows for r in self._requests()
        )

    def _requests(self) -> Iterator[ProbeRequest]:
        for kind in BY_KIND:
            yield from (request for request in self.suite.requests(kind) if request.calculator != self.live)

    def _is_compared(self, request: ProbeRequest) -> bool:
        assert self.baseline is not None
        known = (request.case, request.quantity) in self.baseline.rows and request.case in self._comparer.cases
        return known and not self._comparer.not_comparable(request.case)
