"""The hooks of a run on a cluster: which measurements are asked for, and probes judged as these arrive."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import pytest

from mlff_probes.core.progress import Report
from mlff_probes.core.records import Measurement
from mlff_probes.session.cluster.dispatch import Dispatch, all_allowed, failed
from mlff_probes.session.cluster.remote import untimed
from mlff_probes.session.costs import Pair
from mlff_probes.session.hooks import ProbeRun, request_of
from mlff_probes.session.progress import TerminalProgress

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_ASKED = "no worker was asked for it: it was not among the probes that were collected"


class ClusterRun:
    """The pytest hooks that a run on a cluster needs beside those of any run."""

    def __init__(self, run: ProbeRun, dispatch: Dispatch) -> None:
        self.run, self.dispatch = run, dispatch
        run.suite.once, run.suite.untimed, run.on_cluster = _not_asked, untimed, True

    def pytest_report_header(self) -> str:
        """Say who measures."""
        return f"measured by the workers of {self.dispatch.cluster.name}, {len(self.dispatch.cluster.workers())} so far"

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """Share what is left to do among the workers, where the line of progress says how long it will take."""
        if isinstance(progress := self.run.suite.progress, TerminalProgress):
            of_one = progress.left_s
            progress.left_s = lambda: of_one() / max(1, len(self.dispatch.cluster.workers()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run the items in the order in which what they need arrives."""
        if session.testsfailed or session.config.option.collectonly:  # pytest's own loop says what it says of these
            return None
        for item, following in pairwise(chain(self._as_they_arrive(session.items), [None])):
            assert item is not None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
        return True

    def _as_they_arrive(self, items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
        needs = {item: self._needed(item) for item in items}
        pairs = list(dict.fromkeys(pair for needed in needs.values() for pair in needed))
        yield from _ready(needs, set())
        ended = set[Pair]()
        for pair, measurement in self._measured(pairs):
            ended.add(pair)
            if measurement is not None:
                self.run.suite.measurements[pair] = measurement
                self.run.found.measured_s += 0.0 if measurement.recalled else measurement.wall_s
            yield from _ready(needs, ended)

    def _measured(self, pairs: list[Pair]) -> Iterator[tuple[Pair, Measurement | None]]:
        """What the workers measure, with a line of progress while nothing arrives."""
        budget, line = self.run.budget, contextlib.ExitStack()
        report: list[Report] = []

        def tell(text: str) -> None:
            if not report:
                report.append(line.enter_context(self.run.suite.progress("measured by", "the workers")))
            report[0](text)

        why_left_out = budget.why_left_out if budget else all_allowed
        with line:
            for arrived in self.dispatch.measured(pairs, tell, why_left_out):
                line.close()  # what pytest writes of an item would be mixed up with it
                report.clear()
                yield arrived
        self.run.messages += [
            f"note: nothing was measured by {address}: {why}" for address, why in self.dispatch.refused.items()
        ]

    def _needed(self, item: pytest.Item) -> list[Pair]:
        """The measurements that an item judges: its own, and that of what it is compared with."""
        request, suite = request_of(item), self.run.suite
        if request is None or not suite.measurable(request.case):
            return []
        return [(label, request.case) for label in (request.calculator, self.run.gate.live) if label is not None]


def _ready(needs: dict[pytest.Item, list[Pair]], ended: set[Pair]) -> Iterator[pytest.Item]:
    """The items whose measurements have ended, which are then taken out of `needs`."""
    for item in [item for item, needed in needs.items() if ended.issuperset(needed)]:
        del needs[item]
        yield item


def _not_asked(calculator: str, case: str, make: Callable[[], Measurement]) -> Measurement:
    """What stands for a measurement that no worker was asked for; none is made here."""
    return failed((calculator, case), NOT_ASKED)
