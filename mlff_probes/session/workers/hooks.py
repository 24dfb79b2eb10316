"""The hooks of a run with workers (pytest-xdist): who measures what, where results are shared, what a death costs."""

from __future__ import annotations

import copy
import itertools
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlff_probes.core.records import State
from mlff_probes.measure import BY_KIND
from mlff_probes.scorecard.reports.text import failure_text
from mlff_probes.session.budget import ENDS
from mlff_probes.session.costs import Costs
from mlff_probes.session.findings import Findings, count, name_of
from mlff_probes.session.fixture import not_counted, properties
from mlff_probes.session.gate import Gate
from mlff_probes.session.suite import ProbeRequest, Suite
from mlff_probes.session.workers.exchange import Exchange, killed
from mlff_probes.session.workers.places import PLACE, local_workers, workers_of

if TYPE_CHECKING:
    from collections.abc import Generator

EXCHANGE = "mlff_probes_exchange"
"""The name under which a worker is told where measurements are shared."""

RESTARTS_A_WORKER = 4
"""Dead workers that pytest-xdist replaces by default, for each worker; we add one for each measurement."""


class ParallelRun:
    """The pytest hooks that a probe run with workers needs, in the controller and in the workers."""

    def __init__(
        self,
        suite: Suite,
        compared: Gate,
        found: Findings,
        config: pytest.Config,
        *,
        strict: bool,
        budget_s: float | None = None,
    ) -> None:
        self.suite, self.gate, self.found, self._strict = suite, compared, found, strict
        self._by_id = {request.id: request for kind in BY_KIND for request in suite.requests(kind)}
        self._directory: str | None = None
        self._places: dict[Any, int] = {}
        self._budget_s, self._ends = budget_s, 0.0
        self._exchange: Exchange | None = None
        if directory := getattr(config, "workerinput", {}).get(EXCHANGE):
            self._exchange = Exchange(Path(directory))
            suite.once = self._exchange.measurement
        elif (workers := workers_of(config)) and config.option.maxworkerrestart is None:
            measurements = {(request.calculator, request.case) for request in self._by_id.values()}
            config.option.maxworkerrestart = str(RESTARTS_A_WORKER * len(workers) + len(measurements))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Give back the models of a controller, which measures nothing: its workers have their own."""
        if workers_of(session.config):
            self.suite.give_back([calculator.label for calculator in self.suite.calculators])

    def _requested(self, nodeid: str) -> ProbeRequest | None:
        """The request behind a node id, for the controller, which has no items."""
        return self._by_id.get(name_of(nodeid))

    def _measurement_of(self, nodeid: str) -> str | None:
        request = self._requested(nodeid)
        return None if request is None else f"{request.calculator}-{request.case}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where measurements are shared, and a local one which of how many it is."""
        if self._directory is None:
            self._directory = _temporary_directory(node.config)
        node.workerinput[EXCHANGE] = self._directory
        if self._budget_s is not None:
            self._ends = self._ends or time.time() + self._budget_s
            node.workerinput[ENDS] = self._ends
        if node.gateway.spec.popen:
            place = next(n for n in itertools.count() if n not in self._places.values())
            self._places[node] = place
            node.workerinput[PLACE] = (place, local_workers(node.config))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Keep the place of a dead worker for the one that replaces it."""
        self._places.pop(node, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Count the probes, which only the workers collect, before any worker is told to begin."""
        requests = [request for nodeid in ids if (request := self._requested(nodeid))]
        count(self.found, self.gate, requests, self._budget_s, Costs(self.suite, requests))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Keep the items of one measurement on one worker, where `--dist` lets us."""
        from mlff_probes.session.workers.scheduling import scheduling

        return scheduling(config, log, self._measurement_of)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say how long an item waited for a measurement that another worker made."""
        report = yield
        if self._exchange is not None and call.when == "call" and hasattr(report, "probe"):
            report.probe["waited_s"] = report.probe.get("waited_s", 0.0) + self._exchange.waited_s
            self._exchange.waited_s = 0.0
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        """Turn the death of a worker into an error of each item of the measurement that killed it."""
        took_leave = hasattr(report.node, "workeroutput")  # stopped by Ctrl-C rather than dead
        if took_leave or self._requested(crashitem) is None:
            return
        for nodeid in getattr(sched, "lost", {}).get(crashitem, [crashitem]):
            finished = report if nodeid == crashitem else copy.copy(report)  # pytest-xdist logs its own when we return
            path, _, name = nodeid.partition("::")
            finished.nodeid, finished.location, finished.longrepr = nodeid, (path, None, name), None
            finished.outcome, finished.when = "passed", "teardown"
            if nodeid not in self.found.results:  # else it died after the verdict
                lost = self._lost(finished)
                sched.config.hook.pytest_runtest_logreport(report=lost)
                sched.config.pluginmanager.getplugin("dsession")._handlefailures(lost)  # for --maxfail
            if finished is not report:
                sched.config.hook.pytest_runtest_logreport(report=finished)

    def _lost(self, finished: pytest.TestReport) -> pytest.TestReport:
        """The report of an item whose measurement took its process down, before that of its tear-down."""
        request = self._requested(finished.nodeid)
        assert request is not None
        key = (request.calculator, request.case)
        self.found.measurements.setdefault(key, self.suite.measurements.setdefault(key, killed(*key)))
        result = self.suite.result(request)
        gate = self.gate
        change = gate.change(result) if gate.knows(result.case) else None
        finished.user_properties = properties(result, change)
        lost = copy.copy(finished)
        lost.outcome, lost.when, lost.longrepr = "failed", "call", failure_text(result, change)
        if gate.knows(result.case) and not gate.fails(result, change, strict=self._strict):
            known = result.verdict.state is State.KNOWN_FAILURE
            lost.outcome, lost.wasxfail = "skipped", result.verdict.reason if known else not_counted(gate.live, result)
        lost.probe = {"result": result, "measurements": []}  # type: ignore[attr-defined]
        return lost

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Let `--maxfail` end in the exit code it has without workers; pytest-xdist calls it an interruption."""
        if session.shouldfail and exitstatus == pytest.ExitCode.INTERRUPTED:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _temporary_directory(config: pytest.Config) -> str:
    """A directory for the length of the run; empty where none can be had: measurements may then be repeated."""
    try:
        directory = tempfile.TemporaryDirectory(prefix="mlff-probes-", ignore_cleanup_errors=True)
    except OSError:
        return ""
    config.add_cleanup(directory.cleanup)
    return directory.name
