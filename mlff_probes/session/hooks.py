"""The hooks of a run with `--calculator`: collect, judge, and end in a scorecard and an exit code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from mlff_probes.core.data import PROBES
from mlff_probes.core.records import CalculatorIdentity, Measurement, ProbeResult
from mlff_probes.core.text import visible
from mlff_probes.measure import BY_KIND
from mlff_probes.scorecard.model import RunOptions, Scorecard
from mlff_probes.scorecard.reports import terminal
from mlff_probes.scorecard.reports.text import identity_lines, verdict_line
from mlff_probes.session.budget import ENDS, Budget, longest_first, most_telling_first
from mlff_probes.session.costs import Costs
from mlff_probes.session.findings import Findings, count
from mlff_probes.session.fixture import LEFT_OUT, RESULT, Probe
from mlff_probes.session.forecast import Forecast
from mlff_probes.session.gate import Gate
from mlff_probes.session.progress import teller, terminal_progress
from mlff_probes.session.sending import send
from mlff_probes.session.suite import ProbeRequest, Suite
from mlff_probes.session.turns import Turns
from mlff_probes.session.wanted import WantedFiles, account

if TYPE_CHECKING:
    from collections.abc import Generator


ONLY_LOOKING = ("collectonly", "setuponly", "setupplan", "showfixtures", "show_fixtures_per_test")
"""Options under which pytest runs no test, so that there is nothing to write."""


class ProbeRun:
    """The pytest hooks of one probe run."""

    def __init__(self, suite: Suite, compared: Gate, options: RunOptions, found: Findings, wanted: WantedFiles) -> None:
        self.suite, self.gate, self.options, self.found, self.wanted = suite, compared, options, found, wanted
        self.turns = Turns(suite, compared.live)
        self.budget: Budget | None = None
        self.shipped: set[tuple[str, str]] = set()
        self.card: Scorecard | None = None
        self.messages: list[str] = []
        self.interrupted = ""
        self.on_cluster = False
        """Whether workers of a cluster measure, of whom each takes what comes next."""
        if (known := suite.known_failures) is not None:
            labels = {name for identity in self.identities for name in (identity.label, identity.replicate_of) if name}
            self.messages += [f"note: {said}" for said in known.strangers(labels)]

    @property
    def identities(self) -> list[CalculatorIdentity]:
        """Who is measured."""
        return [calculator.identity for calculator in self.suite.calculators]

    @pytest.fixture
    def probe(self, request: pytest.FixtureRequest) -> Probe:
        """One quantity of one case for one calculator; `probe.check()` judges it."""
        strict = self.options.strict
        return Probe(self.suite, self.gate, request.param, request.node, strict=strict, budget=self.budget)

    def pytest_report_header(self) -> list[str]:
        """Say who is measured."""
        return [line for identity in self.identities for line in identity_lines(identity)]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one item of each (calculator, case, quantity)."""
        marker = metafunc.definition.get_closest_marker("mlff_probe")
        if marker is not None and "probe" in metafunc.fixturenames:
            requests = self.suite.requests(marker.args[0])
            metafunc.parametrize("probe", requests, ids=[request.id for request in requests], indirect=True)

    def pytest_pycollect_makeitem(self, collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
        """Let no `python_functions` of the user's own hide the probes: `__test__` makes a test of any name."""
        if collector.path.parent.resolve() == PROBES.resolve() and name.startswith("test_"):
            obj.__test__ = True  # type: ignore[attr-defined]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Drop the placeholder that pytest makes of a probe without any case in this tier; let calculators take turns.

        The baseline begins: it is then measured, and may die, in its own items, whatever order they have. With a budget
        the most telling measurements come first, of whichever calculator.
        """
        items[:] = [item for item in items if not (_is_probe(item) and request_of(item) is None)]
        yield
        costs, within = Costs(self.suite, map(request_of, items)), self.options.budget_s is not None
        shared = longest_first(costs) if self.on_cluster or hasattr(config, "workerinput") else {}
        places = most_telling_first(self.suite, costs) if within else shared
        items[:] = self.turns.in_order(items, request_of, places, take_turns=not (within or self.on_cluster))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the probes, so that a run cut short can be told from a whole one; show progress from now on."""
        progress = terminal_progress(session.config)
        self.suite.progress = progress or self.suite.progress
        requests = [request for item in session.items if (request := request_of(item))]
        costs = Costs(self.suite, requests)
        if not hasattr(session.config, "workerinput"):
            count(self.found, self.gate, requests, self.options.budget_s, costs)
        if progress is not None:
            progress.left_s = costs.left_s
        if self.options.budget_s is not None:
            ends = getattr(session.config, "workerinput", {}).get(ENDS)
            self.budget = Budget(self.options.budget_s, costs, ends=ends)
        if requests:
            self.turns.begin(requests)
        if say := teller(session.config, progress):
            self.suite.foretell = Forecast(self.suite, requests, say)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Give back the memory of a model that is not needed any more."""
        if request := request_of(item):
            self.turns.ended(request)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the result (and, with the first item of a measurement, the measurement) to the report."""
        report = yield
        if _is_probe(item):
            report.probe = {}  # type: ignore[attr-defined]
            if call.when == "call" and RESULT in item.stash:
                report.probe = self._shipment(item.stash[RESULT])  # type: ignore[attr-defined]
            if call.when == "call":
                report.probe["waited_s"], self.suite.loading_s = self.suite.loading_s, 0.0
            if call.when == "call" and LEFT_OUT in item.stash:
                report.probe = {"left_out": item.stash[LEFT_OUT]}  # type: ignore[attr-defined]
        return report

    def _shipment(self, result: ProbeResult) -> dict[str, Any]:
        """The result, and what was measured for it that the controller does not know yet."""
        keys = {(label, result.case) for label in (result.calculator, self.gate.live) if label is not None}
        made = [key for key in sorted(keys - self.shipped) if key in self.suite.measurements]
        self.shipped.update(made)
        return {"result": result, "measurements": [self.suite.measurements[key] for key in made]}

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
        """Turn the records of a report into JSON on its way to another process (pytest-xdist) or into a file."""
        data = yield
        if data is not None and "probe" in data:
            data["probe"] = _as_json(data["probe"])
        return data

    @pytest.hookimpl(wrapper=True)
    def pytest_report_from_serializable(
        self, data: dict[str, Any]
    ) -> Generator[
        None, pytest.CollectReport | pytest.TestReport | None, pytest.CollectReport | pytest.TestReport | None
    ]:
        """Make records again of what another process sent as JSON."""
        report = yield
        if report is not None and hasattr(report, "probe"):
            report.probe = _from_json(report.probe)  # type: ignore[union-attr]
        return report

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Remember when an item begins, in this process or in a worker."""
        self.found.running[nodeid] = time.perf_counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather results, from this process or from a worker."""
        shipment = getattr(report, "probe", None)
        if shipment is None:
            return
        self.found.measured_s += report.duration - shipment.get("waited_s", 0.0)
        if report.nodeid in self.found.running:
            self.found.running[report.nodeid] = time.perf_counter()
        if "result" in shipment:
            self.found.results[report.nodeid] = shipment["result"]
        if "left_out" in shipment:
            self.found.left_out[report.nodeid] = shipment["left_out"]
        for measurement in shipment.get("measurements", ()):
            key = (measurement.calculator, measurement.case)
            self.found.measurements[key] = measurement
            self.suite.measurements.setdefault(key, measurement)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Forget when an item began: its reports have its time."""
        self.found.running.pop(nodeid, None)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember why the run ends early: Ctrl-C, SIGTERM, or what pytest says of its own accord."""
        self.interrupted = str(excinfo.value) or "interrupted"
        names = {request.id for kind in BY_KIND for request in self.suite.requests(kind)}
        self.found.cut_short(names, time.perf_counter())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the scorecard, also of a run cut short, and set the exit code."""
        if hasattr(session.config, "workerinput") or any(map(session.config.getoption, ONLY_LOOKING)):
            return
        if exitstatus == pytest.ExitCode.USAGE_ERROR:
            return
        start = time.perf_counter()
        self.card = Scorecard.build(
            calculators=self.identities,
            cases=self.suite.cases,
            results=self.found.results.values(),
            measurements=self.found.measurements.values(),
            corrected=self.suite.corrected({row.case for row in self.found.results.values()}),
            options=self.options,
            selected=self.found.selected,
            measured_s=self.found.measured_s,
            interrupted_s=self.found.interrupted_s,
            interrupted=self.interrupted or ("internal error" if exitstatus == pytest.ExitCode.INTERNAL_ERROR else ""),
            baseline=self.gate.live,
            compared=self.gate.comparisons,
            left_out=self.found.without(),
        )
        written, problems = self.wanted.write(self.card)
        self.messages += problems
        if not self.wanted.scorecards:
            self.messages.append("for the figures and the worst examples add --probe-scorecard=scorecard.md")
        if written:
            self.messages.append(f"{account(written)} in {time.perf_counter() - start:.1f} s")
        failures = send(self.card, session.config)
        self.messages += failures
        green = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        kept = set(self.wanted.all) <= set(written) and not failures
        if exitstatus in green and (self.card.verdict != "passed" or not kept):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, None, None]:
        """Print the scorecard after everything else."""
        yield
        if self.card is None:
            return
        writer = terminalreporter._tw
        terminalreporter.section("scorecard")
        if self.card.results:
            width = writer.fullwidth if terminalreporter.isatty else max(writer.fullwidth, terminal.LOG_WIDTH)
            writer.write(terminal.render(self.card, width=width, color=writer.hasmarkup))
        else:
            writer.line(verdict_line(self.card))
            if not self.found.selected:
                writer.line("no probe was collected: name them with --pyargs mlff_probes.probes")
        for message in self.messages:
            writer.line(visible(message))


def _is_probe(item: pytest.Item) -> bool:
    return item.get_closest_marker("mlff_probe") is not None


def request_of(item: pytest.Item) -> ProbeRequest | None:
    """What an item measures; None for one that is no probe."""
    callspec = getattr(item, "callspec", None)
    request = callspec.params.get("probe") if callspec else None
    return request if isinstance(request, ProbeRequest) else None


def _as_json(shipment: dict[str, Any]) -> dict[str, Any]:
    """What a report carries, its records in their JSON form."""
    if "result" not in shipment:
        return shipment
    measurements = [measurement.model_dump(mode="json") for measurement in shipment["measurements"]]
    return {**shipment, "result": shipment["result"].model_dump(mode="json"), "measurements": measurements}


def _from_json(shipment: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `_as_json`; not strict, because enums and tuples arrive as strings and lists."""
    if "result" not in shipment:
        return shipment
    measurements = [Measurement.model_validate(data, strict=False) for data in shipment["measurements"]]
    result = ProbeResult.model_validate(shipment["result"], strict=False)
    return {**shipment, "result": result, "measurements": measurements}
