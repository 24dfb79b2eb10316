"""What the controller of a run has gathered so far; the hooks of a run and those of its workers share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest

from mlff_probes.core.errors import InputError
from mlff_probes.core.records import Measurement, ProbeResult
from mlff_probes.scorecard.model import LeftOut
from mlff_probes.session.budget import Budget
from mlff_probes.session.costs import Costs
from mlff_probes.session.gate import Gate
from mlff_probes.session.suite import ProbeRequest


@dataclass
class Findings:
    """Results by node id, measurements by calculator and case, how many quantities were selected, how long it took.

    `left_out` says by node id what a budget did not allow: calculator, case and reason.
    `measured_s` is the time spent in the probes, in seconds; under pytest-xdist summed over the workers. `running` says
    of each item that has begun and not ended from when on its time is missing there, by `time.perf_counter`;
    `interrupted_s` is the part in items that an interruption cut short.
    """

    results: dict[str, ProbeResult] = field(default_factory=dict)
    measurements: dict[tuple[str, str], Measurement] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    selected: int = 0
    measured_s: float = 0.0
    running: dict[str, float] = field(default_factory=dict)
    interrupted_s: float = 0.0

    def without(self) -> list[LeftOut]:
        """The measurements that a budget left out."""
        quantities = Counter(tuple(left.items()) for left in self.left_out.values())
        return [LeftOut(**dict(left), quantities=count) for left, count in quantities.items()]

    def cut_short(self, names: Collection[str], now: float) -> None:
        """Count the time of the items that are running; `names` are those of probes, without what stands before."""
        begun = [since for nodeid, since in self.running.items() if name_of(nodeid) in names]
        self.interrupted_s = sum(now - since for since in begun)
        self.measured_s += self.interrupted_s
        self.running.clear()


def name_of(nodeid: str) -> str:
    """What stands in the brackets of a node id, to which pytest-xdist may add ``@group``; "" where there are none."""
    return nodeid.partition("[")[2].rpartition("]")[0] if "::test_" in nodeid else ""


def count(
    found: Findings, compared: Gate, requests: Sequence[ProbeRequest], budget_s: float | None, costs: Costs
) -> None:
    """Note how many quantities are to be measured, and refuse a baseline that has nothing on any of them.

    And a budget that is too short for any of them.

    Raises
    ------
    pytest.UsageError
        If it has nothing, or is too short.
    """
    found.selected = max(found.selected, len(requests))
    try:
        compared.check(requests)
        if budget_s is not None:
            Budget(budget_s, costs).check()
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
