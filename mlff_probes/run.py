"""The hooks of a run with `--calculator`: collect, judge, and end in a scorecard and an exit code."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlff_probes import gate
from mlff_probes.calculators.identity import cuda_devices, path_not_stated
from mlff_probes.calculators.registry import load_calculator, quiet
from mlff_probes.calculators.safety import check_pins_used, checked_pins
from mlff_probes.dynamics.store import in_pytest_cache, store_directory
from mlff_probes.errors import InputError
from mlff_probes.evaluation import describe
from mlff_probes.known_failures import load_known_failures
from mlff_probes.limits import positive_seconds
from mlff_probes.parallel import own_gpu, share_cores, shared_machine
from mlff_probes.plugin import PROBES
from mlff_probes.probe import RESULT, Probe
from mlff_probes.progress import terminal_progress
from mlff_probes.records import NOT_STATED, CalculatorIdentity, Measurement, ProbeResult
from mlff_probes.reference import DIRECTORY, load_cases
from mlff_probes.scorecard import benchmark_json, files, terminal
from mlff_probes.scorecard.format import identity_lines, verdict_line, visible
from mlff_probes.scorecard.model import FailOn, RunOptions, Scorecard
from mlff_probes.sending import send
from mlff_probes.suite import ProbeRequest, Suite
from mlff_probes.tolerances import load_policy

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


ONLY_LOOKING = ("collectonly", "setuponly", "setupplan", "showfixtures", "show_fixtures_per_test")
"""Options under which pytest runs no test, so that there is nothing to write."""


class ProbeRun:
    """The pytest hooks of one probe run, and what the controller has gathered so far."""

    def __init__(
        self,
        suite: Suite,
        options: RunOptions,
        compared: gate.Gate,
        scorecards: list[Path],
        benchmark_file: Path | None = None,
    ) -> None:
        self.suite, self.options, self.gate = suite, options, compared
        self.scorecards, self.benchmark_file = scorecards, benchmark_file
        self.results: dict[str, ProbeResult] = {}
        self.measurements: dict[tuple[str, str], Measurement] = {}
        self.shipped: set[tuple[str, str]] = set()
        self.selected = 0
        self.measured_s = 0.0
        self.card: Scorecard | None = None
        self.messages: list[str] = []
        self.interrupted = ""

    @classmethod
    def from_config(cls, config: pytest.Config) -> ProbeRun:
        """Check the options, read the cases and load the calculators.

        Raises
        ------
        InputError
            If anything the user gave is unusable.
        """
        option = config.getoption
        scorecards = [Path(path).expanduser() for path in option("--probe-scorecard")]
        timings = Path(option(benchmark_json.OPTION)).expanduser() if option(benchmark_json.OPTION) else None
        if not hasattr(config, "workerinput"):
            for path in scorecards:
                files.check_path(path)
            if timings:
                benchmark_json.check(timings)
            if timings in scorecards:
                raise InputError(f"{benchmark_json.OPTION}={timings}: --probe-scorecard names the same file")
        tolerances = option("--probe-tolerances")
        policy = load_policy(Path(tolerances).expanduser() if tolerances else None)
        directories = [Path(path).expanduser() for path in option("--probe-reference")]
        if option("--probe-reference-only") and not directories:
            raise InputError("--probe-reference-only leaves no case; add --probe-reference=DIR")
        own = [] if option("--probe-reference-only") else [DIRECTORY]
        cases = load_cases([*own, *directories], policy=policy)
        known = option("--probe-known-failures")
        known_failures = None
        if known:
            packaged = {file.stem for file in DIRECTORY.glob("*/*.toml")}
            known_failures = load_known_failures(Path(known).expanduser(), cases, left_out=packaged)
        given = option(gate.OPTION)
        stored = None if given is None else gate.stored_baseline(given)
        for path in (*scorecards, *([timings] if timings else [])):
            if stored is not None and path.exists() and path.samefile(Path(stored.source).expanduser()):
                raise InputError(
                    f"{gate.OPTION}={given}: {path} would be overwritten with what is compared with it; write the new "
                    "scorecard elsewhere"
                )
        options = RunOptions(
            tier=option("--probe-tier"),
            strict=option("--probe-strict"),
            any_level_of_theory=option("--probe-level-of-theory") == "any",
            tolerances=tolerances,
            references=tuple(map(str, directories)),
            known_failures=known,
            timeout_s=positive_seconds(option("--probe-timeout"), "--probe-timeout"),
            trust_checkpoint=option("--probe-trust-checkpoint"),
            sha256=checked_pins(option("--probe-sha256"), option="--probe-sha256"),
            require_device=option("--probe-require-device"),
            baseline=given,
            fail_on=_fail_on(option("--probe-fail-on"), given),
            seed=_seed(option("--probe-seed")),
        )
        share_cores(config)
        gpu = own_gpu(config)
        load = partial(
            load_calculator,
            device=option("--probe-device"),
            dtype=option("--probe-dtype"),
            gpu=gpu,
            trust_checkpoint=options.trust_checkpoint,
            sha256=options.sha256,
        )
        calculators = [load(spec) for spec in option("probe_calculators")]
        if given and stored is None:
            calculators.append(gate.loaded_baseline(given, load))
        check_pins_used(options.sha256, [each.identity for each in calculators], option="--probe-sha256")
        for calculator in calculators:
            _check_device(calculator.identity, options.require_device)
        given_out = all(each.device_given_out for each in calculators if each.identity.device.startswith("cuda"))
        suite = Suite(
            calculators,
            cases,
            tier=options.tier,
            any_level_of_theory=options.any_level_of_theory,
            known_failures=known_failures,
            timeout=options.timeout_s,
            store=_store(config),
            shared=lambda identity: shared_machine(config, identity, given_out=given_out),
            seed=options.seed,
        )
        live = suite.calculators[-1].label if given and stored is None else None
        compared = gate.Gate(suite, policy.regression, options.fail_on, stored=stored, live=live)
        run = cls(suite, options, compared, scorecards, timings)
        if known_failures is not None:
            labels = {name for identity in run.identities for name in (identity.label, identity.replicate_of) if name}
            run.messages += [f"note: {said}" for said in known_failures.strangers(labels)]
        return run

    @property
    def identities(self) -> list[CalculatorIdentity]:
        """Who is measured."""
        return [calculator.identity for calculator in self.suite.calculators]

    @pytest.fixture
    def probe(self, request: pytest.FixtureRequest) -> Probe:
        """One quantity of one case for one calculator; `probe.check()` judges it."""
        return Probe(self.suite, self.gate, request.param, request.node, strict=self.options.strict)

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
        if collector.path.parent == PROBES and name.startswith("test_"):
            obj.__test__ = True  # type: ignore[attr-defined]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, None, None]:
        """Drop the placeholder that pytest makes of a probe without any case in this tier; begin with the baseline.

        What a calculator is compared with is then measured, and may die, in its own items, whatever order they have.
        """
        items[:] = [item for item in items if not (_is_probe(item) and _request(item) is None)]
        yield
        if self.gate.live is not None:
            items.sort(key=lambda item: (request := _request(item)) is None or request.calculator != self.gate.live)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the probes, so that a run cut short can be told from a whole one; show progress from now on."""
        self.suite.progress = terminal_progress(session.config) or self.suite.progress
        if not hasattr(session.config, "workerinput"):
            self.count([request for item in session.items if _is_probe(item) and (request := _request(item))])

    def count(self, requests: Sequence[ProbeRequest]) -> None:
        """Note how many quantities are to be measured, and refuse a baseline that has nothing on any of them.

        Raises
        ------
        pytest.UsageError
            If it has nothing.
        """
        self.selected = max(self.selected, len(requests))
        try:
            self.gate.check(requests)
        except InputError as error:
            raise pytest.UsageError(str(error)) from error

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
        return report

    def _shipment(self, result: ProbeResult) -> dict[str, Any]:
        """The result, and what was measured for it that the controller does not know yet."""
        keys = {(label, result.case) for label in (result.calculator, self.gate.live) if label is not None}
        made = [key for key in sorted(keys - self.shipped) if key in self.suite.measurements]
        self.shipped.update(made)
        measurements = [self.suite.measurements[key].model_dump(mode="json") for key in made]
        return {"result": result.model_dump(mode="json"), "measurements": measurements}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather results, from this process or from a worker."""
        shipment = getattr(report, "probe", None)
        if shipment is None:
            return
        self.measured_s += report.duration - shipment.get("waited_s", 0.0)
        if "result" in shipment:
            self.results[report.nodeid] = _received(ProbeResult, shipment["result"])
        for data in shipment.get("measurements", ()):
            measurement = _received(Measurement, data)
            key = (measurement.calculator, measurement.case)
            self.measurements[key] = measurement
            self.suite.measurements.setdefault(key, measurement)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember why the run ends early: Ctrl-C, or what pytest says of its own accord."""
        self.interrupted = str(excinfo.value) or "interrupted"

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
            results=self.results.values(),
            measurements=self.measurements.values(),
            options=self.options,
            selected=self.selected,
            measured_s=self.measured_s,
            interrupted=self.interrupted or ("internal error" if exitstatus == pytest.ExitCode.INTERNAL_ERROR else ""),
            baseline=self.gate.live,
            compared=self.gate.comparisons,
        )
        written = self._write(self.card)
        if not self.scorecards:
            self.messages.append("for the figures and the worst examples add --probe-scorecard=scorecard.md")
        if written:
            self.messages.append(f"{_account(written)} in {time.perf_counter() - start:.1f} s")
        failures = send(self.card, session.config)
        self.messages += failures
        green = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        kept = set(self._wanted) <= set(written) and not failures
        if exitstatus in green and (self.card.verdict != "passed" or not kept):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self, card: Scorecard) -> list[Path]:
        written: list[Path] = []
        for path in sorted(self._wanted, key=lambda path: path.suffix.lower() != ".json"):
            timings = path == self.benchmark_file
            try:
                with quiet():
                    written += benchmark_json.write(card, path) if timings else files.write(card, path)
            except Exception as error:  # a picture that cannot be drawn must not cost the verdicts
                said = error if isinstance(error, OSError) else describe(error)
                option = benchmark_json.OPTION if timings else "--probe-scorecard"
                self.messages.append(f"{option}={path}: could not be written ({said})")
        return written

    @property
    def _wanted(self) -> list[Path]:
        """All files that the user asked for."""
        return [*self.scorecards, *([self.benchmark_file] if self.benchmark_file else [])]

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
            if not self.selected:
                writer.line("no probe was collected: name them with --pyargs mlff_probes.probes")
        for message in self.messages:
            writer.line(visible(message))


def _check_device(identity: CalculatorIdentity, required: str | None) -> None:
    """Refuse a calculator that computes elsewhere than `--probe-require-device` says.

    Raises
    ------
    InputError
        If it does, or nobody stated where it computes.
    """
    kind, _, number = identity.device.partition(":")
    if required is None:
        return
    said = f"--probe-require-device={required}: --calculator={identity.spec}"
    if identity.device == NOT_STATED:
        raise InputError(f"{said}: {path_not_stated(identity, of=('device',))}")
    if kind == required == "cuda" and cuda_devices() <= int(number or 0):
        raise InputError(f"{said} says that it computes on {identity.device}, and this machine has no such device")
    if kind == required:
        return
    raise InputError(
        f"{said} computes on {identity.device} ({identity.device_name}); add --probe-device={required} or "
        f",device={required}, run it where there is such a device, or leave --probe-require-device out"
    )


def _fail_on(given: FailOn | None, baseline: str | None) -> FailOn:
    """What a run fails on: what the user says, else on regressions too where there is a baseline."""
    if given in ("regression", "both") and baseline is None:
        raise InputError(f"--probe-fail-on={given} needs something to compare with; add {gate.OPTION}=old.json")
    return given or ("tolerance" if baseline is None else "both")


def _seed(given: int) -> int:
    if given < 0:
        raise InputError(f"--probe-seed={given}: must be 0 or more")
    return given


def _store(config: pytest.Config) -> Path | None:
    """The directory where trajectories are kept; None where none are to be, or pytest has no cache directory.

    It is made when something is kept in it: most runs simulate nothing, and not every cache can be written.

    Raises
    ------
    InputError
        If both a directory and none are asked for, or something else is in its place.
    """
    given = config.getoption("--probe-store")
    if config.getoption("--probe-no-store"):
        if given:
            raise InputError("--probe-store and --probe-no-store contradict each other; leave one out")
        return None
    if given:
        return store_directory(given, f"--probe-store={given}")
    if getattr(config, "cache", None) is None:
        return None
    cache = os.path.expanduser(config.getini("cache_dir"))  # noqa: PTH111 - as pytest, which lets no unknown ~user fail
    return in_pytest_cache(config.rootpath / os.path.expandvars(cache))


def _account(written: list[Path]) -> str:
    """What was written, in one line."""
    figures = {path for path in written if path.suffix == ".png"}
    examples = {path for path in written if path.suffix in (".py", ".extxyz")}
    parts = [str(path) for path in written if path not in figures | examples]
    if figures:
        parts.append(f"{len(figures)} figure{'s' * (len(figures) > 1)}")
    if examples:
        several = "s" * (len(examples) > 2)
        parts.append(f"{len(examples) // 2} worst example{several} with script{several} in {min(examples).parent}")
    return "wrote " + ", ".join(parts)


def _is_probe(item: pytest.Item) -> bool:
    return item.get_closest_marker("mlff_probe") is not None


def _request(item: pytest.Item) -> ProbeRequest | None:
    callspec = getattr(item, "callspec", None)
    request = callspec.params.get("probe") if callspec else None
    return request if isinstance(request, ProbeRequest) else None


def _received(kind: type[Any], data: dict[str, Any]) -> Any:
    """A record back from its JSON form: enums and tuples arrive as strings and lists."""
    return kind.model_validate(data, strict=False)
