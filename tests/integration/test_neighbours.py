"""Beside other plugins and other people's configuration: nobody is disturbed, and the numbers stay the same."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from importlib import metadata

import pytest
from outer_runs import UNRELAXED
from support import STORED, STORED_QUANTITIES

LISTING = """
import json, sys
import pytest

code = pytest.main(sys.argv[2:])
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump({"code": code, "modules": sorted(sys.modules)}, file)
"""


@pytest.fixture(scope="module")
def plugins():
    """Entry-point names of the pytest plugins in this environment: ours, and the others."""
    points = list(metadata.entry_points(group="pytest11"))
    ours = {point.name for point in points if point.value.startswith("mlff_probes")}
    return ours, {point.name for point in points} - ours


def test_run_without_calculator_imports_nothing_of_ours(tmp_path, plugins, inner_environment):
    """Other plugins are left out of both runs, since some import numpy and would hide what we import."""
    ours, others = plugins
    assert ours == {"mlff_probes"}
    (tmp_path / "test_empty.py").write_text("")
    (tmp_path / "listing.py").write_text(LISTING)
    found = {}
    for name, blocked in {"with": others, "without": ours | others}.items():
        args = ["--co", "-q", "test_empty.py", *(f"-pno:{plugin}" for plugin in sorted(blocked))]
        done = subprocess.run(
            [sys.executable, "-P", "listing.py", f"{name}.json", *args],
            cwd=tmp_path, env=inner_environment, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        said = json.loads((tmp_path / f"{name}.json").read_text())
        assert said["code"] == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
        found[name] = set(said["modules"])
    more = found["with"] - found["without"]
    assert {"mlff_probes", "mlff_probes.plugin"} <= more
    foreign = {m for m in more if m.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"mlff_probes", "mlff_probes.plugin", "mlff_probes.core", "mlff_probes.core.data"}


COUNTED = "--calculator=py:./calc.py:counted"
OTHERS = ("xdist", "randomly", "benchmark", "playwright", "timeout")
NEIGHBOURS = {
    "alone": (),
    "random order": ("randomly",),
    "all": OTHERS,
}
OPTIONS = {
    "xdist": ("-n", "2"),
    "randomly": ("-p", "randomly", "--randomly-seed=7"),
    "timeout": ("--timeout=60",),
}

OWN = """
def test_benchmark(benchmark):
    assert benchmark(sum, [1, 2]) == 3


def test_plugins(request):
    plugins = request.config.pluginmanager
    assert all(plugins.hasplugin(name) for name in {names})
"""


@pytest.fixture(scope="module")
def run_among(tmp_path_factory, inner_pytest, counted):
    """The same probes alone or among neighbours, with a user's own tests where all plugins are there; each once."""

    @functools.cache
    def run(name):
        directory = tmp_path_factory.mktemp("run")
        (directory / "calc.py").write_text(counted)
        (directory / "test_own.py").write_text(OWN.format(names=sorted(OTHERS)))
        plugins = NEIGHBOURS[name]
        options = [option for plugin in plugins for option in OPTIONS.get(plugin, ())]
        options += [f"-pno:{plugin}" for plugin in OTHERS if plugin not in plugins]
        options += ["test_own.py"] if name == "all" else []
        return inner_pytest(
            directory,
            "--pyargs",
            "mlff_probes.probes",
            COUNTED,
            "--probe-scorecard=card.json",
            "-v",
            *UNRELAXED,
            *options,
        )

    return run


def numbers(card):
    """What must not depend on who else is there: rows in their order."""
    return [(r.calculator, r.case, r.quantity, r.verdict.state.value, r.measured.value) for r in card.results]


@pytest.mark.parametrize("name", [name for name in NEIGHBOURS if name != "alone"])
def test_rows_are_those_of_a_plain_run(name, run_among):
    plain, found = numbers(run_among("alone").card), numbers(run_among(name).card)
    assert len(plain) == STORED_QUANTITIES
    assert [row[:4] for row in found] == [row[:4] for row in plain]
    for mine, his in zip(found, plain, strict=True):
        assert mine[4] == pytest.approx(his[4], abs=1e-9)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_every_run_is_whole(name, run_among):
    run = run_among(name)
    assert run.code == pytest.ExitCode.TESTS_FAILED  # the calculator is no good, whoever watches
    assert run.card.selected == STORED_QUANTITIES
    assert len(run.card.results) == STORED_QUANTITIES
    assert run.card.complete
    assert len(run.card.measurements) == len(STORED)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_no_measurement_is_made_twice(name, run_among):
    assert run_among(name).calls == run_among("alone").calls > 100
    assert run_among(name).card.time.model_calls == run_among("alone").card.time.model_calls


def test_the_order_was_shuffled_indeed(run_among):
    """Or the test of the rows' order would show nothing."""

    def order(run):
        return [line.split()[0] for line in run.stdout.splitlines() if "::test_" in line and "%]" in line]

    assert len(order(run_among("alone"))) == STORED_QUANTITIES
    assert sorted(order(run_among("alone"))) == sorted(order(run_among("random order")))
    assert order(run_among("alone")) != order(run_among("random order"))


def test_own_tests_pass_among_all_plugins(run_among):
    for test in ("test_benchmark", "test_plugins"):
        assert any("PASSED" in line and f"test_own.py::{test}" in line for line in run_among("all").stdout.splitlines())


STRICT_INI = """
[pytest]
addopts = --strict-markers --strict-config
filterwarnings = error
markers = own: a marker of theirs
"""
OWN_MARKED = """
import warnings

import pytest


@pytest.mark.own
def test_own():
    with pytest.raises(DeprecationWarning):
        warnings.warn("old", DeprecationWarning)
"""
WARNING = """

import warnings

warnings.warn("this module is old", DeprecationWarning)


class Warning(Counted):
    def calculate(self, *args, **kwargs):
        warnings.warn("this model is old", FutureWarning)
        super().calculate(*args, **kwargs)


def warning():
    warnings.warn("this factory is old", UserWarning)
    return Warning()
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "-n 2"])
def test_strict_configuration_of_a_user(workers, tmp_path, run_fresh_probes_in, counted, recorded_only):
    """Warnings as errors and strict markers are about their own tests, not about the inside of a model."""
    (tmp_path / "pytest.ini").write_text(STRICT_INI)
    (tmp_path / "calc.py").write_text(counted + WARNING)
    (tmp_path / "test_own.py").write_text(OWN_MARKED)
    options = ("--calculator=py:./calc.py:warning", *recorded_only, "test_own.py", *workers)
    run = run_fresh_probes_in(tmp_path, *options)
    assert run.code == pytest.ExitCode.OK, run.output
    assert run.card.verdict == "passed"
    assert len(run.card.results) == STORED_QUANTITIES
    said = {message for measurement in run.card.measurements for message in measurement.diagnostics["warnings"]}
    assert said == {"FutureWarning: this model is old"}
    run.matches(f"*{STORED_QUANTITIES + 1} passed*")


def test_configuration_of_a_user_without_the_probes(tmp_path, inner_pytest):
    (tmp_path / "pytest.ini").write_text(STRICT_INI)
    (tmp_path / "test_own.py").write_text(OWN_MARKED)
    run = inner_pytest(tmp_path)
    assert run.code == pytest.ExitCode.OK, run.output
    run.matches("*1 passed*")
