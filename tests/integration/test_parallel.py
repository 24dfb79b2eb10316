"""With workers: the same scorecard, each measurement made once, and a death costs what was being measured."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from functools import cache

import pytest

from mlff_probes.calculators.identity import cpu_count
from mlff_probes.session.workers.exchange import KILLED

DISTS = {"load": 2, "loadfile": 2, "loadscope": 3, "loadgroup": 2, "worksteal": 3, "each": 2}
"""How tests are spread, over how many workers."""

FRESH = ("load", "alone, fresh")
"""The one of these whose controller and workers are fresh interpreters, as a user's are, and no forks; and what it is
compared with, since ASE's own list of neighbours sums in another order than the one that forks have."""

IN_GAP, SLIDE, SUPERCELLS = "cr_sb2te3_in_gap", "sb2te3_fixed_gap_0.0", "sb2te3_20_atoms"
CASES = ("-k", "cr_sb2te3_in_gap or sb2te3_fixed_gap_0.0 or 20_atoms or own")
SIZE = {IN_GAP: 7, SLIDE: 6, SUPERCELLS: 1}
"""Items of each case, for each calculator."""

KILLING = '''

import ctypes
import os
import signal
import time


class Killing(Sound):
    """Takes its process down at the `call`-th structure of one of the `sizes` (atoms), and at any later one."""

    def __init__(self, sizes, call, kill):
        super().__init__()
        self.sizes, self.call, self.kill, self.seen = sizes, call, kill, 0

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        self.seen += len(atoms) in self.sizes
        if len(atoms) in self.sizes and self.seen >= self.call:
            with open("deaths.log", "a", encoding="utf-8") as log:
                log.write("death\\n")
            self.kill()


def leaves():
    return Killing([21], 1, lambda: os._exit(0))


def segfaults():
    return Killing([5], 4, lambda: ctypes.string_at(0))


def killed():
    return Killing([20], 9, lambda: os.kill(os.getpid(), signal.SIGKILL))


def always():
    return Killing(range(100), 1, lambda: os._exit(1))


def interrupted():
    def interrupt():
        raise KeyboardInterrupt

    return Killing([21], 4, interrupt)


class Slow(Sound):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        if not os.path.exists("slept"):
            open("slept", "w").close()
            time.sleep({sleep})


def slow():
    with open("threads.log", "a", encoding="utf-8") as log:
        log.write(os.environ["OMP_NUM_THREADS"] + "\\n")
    return Slow()
'''
SLEEP_S = 1.5
CALCULATORS = {"counted": None, "leaves": IN_GAP, "segfaults": SLIDE, "killed": SUPERCELLS}
"""Which case kills whom."""

OWN = """
import os

import pytest


@pytest.mark.parametrize("number", range(4))
def test_own(number):
    assert number < 4
"""


@pytest.fixture(scope="module")
def run_in_folder(tmp_path_factory, run_probes_in, run_fresh_probes_in, counted, recorded, supercells):
    """Run the probes of three cases in a folder of their own, with a temporary directory inside it."""

    def run(name, calculators, *args):
        folder = tmp_path_factory.mktemp(name)
        (folder / "calc.py").write_text(counted + KILLING.replace("{sleep}", str(SLEEP_S)))
        (folder / "test_own.py").write_text(OWN)
        (folder / "tmp").mkdir()
        specs = [f"--calculator=py:./calc.py:{calculator}" for calculator in calculators]
        reference = ("--probe-reference-only", f"--probe-reference={recorded}", f"--probe-reference={supercells}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(folder / "tmp"))
            patch.delenv("OMP_NUM_THREADS", raising=False)
            run_in = run_fresh_probes_in if name in FRESH else run_probes_in
            return run_in(folder, *specs, *reference, *CASES, *args)

    return run


@pytest.fixture(scope="module")
def run_alone(run_in_folder):
    """The sound calculator without workers, once in each kind of interpreter."""
    return cache(lambda name: run_in_folder(name, ["counted"]))


@pytest.fixture(scope="module")
def alone(spread, run_alone):
    """That in the same kind of interpreter."""
    return run_alone(FRESH[1] if spread.directory.name.startswith(FRESH[0] + "0") else "alone")


@pytest.fixture(scope="module", params=DISTS)
def spread(request, run_in_folder):
    """The sound calculator beside three that kill their process, and a user's own tests."""
    workers = ("-n", DISTS[request.param], "--dist", request.param)
    options = ("test_own.py", *workers, "-rf", "--junitxml=junit.xml")
    return run_in_folder(request.param, CALCULATORS, *options)


def rows(card, calculator):
    """What must not depend on who measures."""
    return [(r.case, r.quantity, r.verdict, r.expectation, r.measured) for r in card.rows(calculator)]


def failures(run):
    """The items that the terminal lists as failed, with how often."""
    return Counter(line.partition(" - ")[0] for line in run.stdout.splitlines() if line.startswith("FAILED"))


def deaths(run):
    log = run.directory / "deaths.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def assert_nothing_left(run):
    """No shared directory, and no word of an exhausted patience with workers."""
    assert not list((run.directory / "tmp").glob("mlff-probes-*"))
    assert "crashed while running" not in run.output
    assert "maximum crashed workers" not in run.output


def test_scorecard_is_that_of_one_process(spread, alone):
    assert rows(spread.card, "counted") == rows(alone.card, "counted")
    mine, theirs = (
        {m.case: (m.values.keys(), m.arrays.keys(), m.model_calls, m.batches) for m in run.card.measurements
         if m.calculator == "counted"}
        for run in (spread, alone)
    )  # fmt: skip
    assert mine == theirs
    assert alone.code == pytest.ExitCode.OK


def test_no_measurement_is_made_twice(spread, alone):
    assert spread.calls == alone.calls == alone.card.time.model_calls > 20
    assert len(spread.card.measurements) == len({(m.calculator, m.case) for m in spread.card.measurements}) == 12
    assert spread.card.time.model_calls == sum(m.model_calls for m in spread.card.measurements)
    assert deaths(spread) == 3


def test_a_death_costs_the_items_of_its_measurement(spread):
    card = spread.card
    assert spread.code == pytest.ExitCode.TESTS_FAILED
    assert card.complete
    assert card.verdict == "failed"
    assert card.selected == len(card.results) == 4 * sum(SIZE.values())
    for calculator, case in CALCULATORS.items():
        states = Counter((r.case, r.verdict.state.value, r.verdict.reason) for r in card.rows(calculator))
        lost = {(case, "error", KILLED): SIZE[case]} if case else {}
        assert {key: count for key, count in states.items() if key[0] == case} == lost
        assert all(key[1:] == ("passed", "") for key in states if key[0] != case)
        assert all(m.problem is None or m.case == case for m in card.measurements if m.calculator == calculator)


def test_each_item_is_reported_once(spread, request):
    """In the terminal and to JUnit; `--dist each` runs every item on every worker, which is what it is for."""
    each = "each" in request.node.callspec.id
    lost = [r for r in spread.card.results if r.verdict.state.value == "error"]
    told = failures(spread)
    assert len(told) == len(lost) == sum(SIZE.values())
    if not each:
        assert set(told.values()) == {1}
        assert f"{len(lost)} failed, {4 * sum(SIZE.values()) - len(lost) + 4} passed" in spread.text
        cases = list(ET.parse(spread.directory / "junit.xml").getroot().iter("testcase"))
        assert len(cases) == spread.card.selected + 4
        failed = [{p.get("name"): p.get("value") for p in c.iter("property")} for c in cases if c.findall("failure")]
        assert sorted((p["calculator"], p["quantity"], p["verdict"]) for p in failed) == sorted(
            (r.calculator, r.quantity, "error") for r in lost
        )
    spread.matches(f"*barrier: error: {KILLED}", "*verdict: FAILED (*14 error*)")


def test_nothing_is_left_behind(spread):
    assert_nothing_left(spread)


KNOWN = """
[[known_failure]]
calculator = "always"
case = "cr_sb2te3_in_gap"
quantity = "barrier"
verdict = "error"
reason = "This one kills."
"""


def test_a_calculator_that_always_kills_one_worker(run_in_folder, tmp_path):
    """More deaths than pytest-xdist forgives of its own accord: four for a worker."""
    (tmp_path / "known.toml").write_text(KNOWN)
    calculators = ["always", "counted", "leaves", "segfaults"]
    run = run_in_folder("always", calculators, "-n", "1", f"--probe-known-failures={tmp_path}/known.toml")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert deaths(run) == 5
    assert run.card.complete
    states = Counter((r.calculator, r.verdict.state.value) for r in run.card.results)
    assert states["always", "error"] == sum(SIZE.values()) - 1
    assert states["always", "known failure"] == 1
    assert states["counted", "passed"] == sum(SIZE.values())
    assert set(failures(run).values()) == {1}
    assert "1 xfailed" in run.text
    assert_nothing_left(run)


LIMITS = {
    "-x": ", stopping after 1 failures",
    "--maxfail=2": ", stopping after 2 failures",
    "--max-worker-restart=0": "",
}


@pytest.mark.parametrize("option", LIMITS)
def test_limits_of_the_user(option, run_in_folder):
    """The run ends early, says so, and keeps what it has; a death counts as a failure."""
    run = run_in_folder("limits", ["always"], "-n", "1", option)
    assert run.code == pytest.ExitCode.TESTS_FAILED, run.output
    assert deaths(run) == 1
    assert not run.card.complete
    assert run.card.verdict == "failed"
    assert {r.verdict.reason for r in run.card.results} == {KILLED}
    assert len({r.case for r in run.card.results}) == 1
    assert sum(failures(run).values()) == len(run.card.results)
    rows = len(run.card.results)
    run.matches(f"verdict: FAILED ({rows} error); INCOMPLETE: {rows} of 14 quantities have a verdict{LIMITS[option]}")
    assert_nothing_left(run)


def test_ctrl_c_in_a_worker_is_no_death(run_in_folder):
    run = run_in_folder("interrupted", ["interrupted"], "-n", "1")
    assert run.code == pytest.ExitCode.INTERRUPTED
    assert run.card.verdict == "incomplete"
    assert KILLED not in run.output
    assert IN_GAP not in {r.case for r in run.card.results}


@pytest.fixture(scope="module")
def waiting(run_in_folder):
    """Two workers that want the same measurements, of which one takes its time."""
    return run_in_folder("waiting", ["slow"], "-n", "2", "--dist", "each")


def test_the_cores_are_shared(waiting):
    """Controller and workers compute with the same number of threads, or the scorecard would name the wrong one."""
    assert waiting.code == pytest.ExitCode.OK
    said = (waiting.directory / "threads.log").read_text().split()
    assert said == [str(max(1, cpu_count() // 2))] * 3


def test_waiting_is_no_measuring(waiting):
    """The time of a measurement is counted once, not for each worker that waited for it."""
    made = sum(measurement.wall_s for measurement in waiting.card.measurements)
    assert made > SLEEP_S
    assert waiting.card.time.measured_s - made < SLEEP_S / 2
