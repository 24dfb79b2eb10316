"""A calculator that hangs or fills the memory costs the measurement it is in, with and without workers."""

from __future__ import annotations

from collections import Counter

import pytest

IN_GAP, SLIDE, SUPERCELLS = "cr_sb2te3_in_gap", "sb2te3_fixed_gap_0.0", "sb2te3_20_atoms"
CASES = ("-k", "cr_sb2te3_in_gap or sb2te3_fixed_gap_0.0 or 20_atoms or own")
SIZE = {IN_GAP: 7, SLIDE: 6, SUPERCELLS: 1}
"""Items of each case, for each calculator; their structures have 21, 5 and 20 atoms."""

LIMIT_S = 2.0
"""Much longer than any sound measurement takes here."""

HANGING = '''

import resource
import time

import numpy as np


class Hanging(Sound):
    """Hangs at the `call`-th structure of `size` atoms and is sound again thereafter."""

    device, dtype = "cpu", "float64"

    def __init__(self, size, call, hang):
        super().__init__()
        self.size, self.call, self.hang = size, call, hang

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        self.call -= len(atoms) == self.size
        if self.call == 0 and len(atoms) == self.size:
            self.call -= 1
            self.results["energy"] += 1.0
            self.hang()


def sleeps():
    return Hanging(21, 4, lambda: time.sleep(100))


def computes():
    def forever():
        while True:
            sum(range(1000))

    return Hanging(5, 3, forever)


def swallows():
    def forever():
        while True:
            try:
                time.sleep(100)
            except Exception:
                pass

    return Hanging(20, 9, forever)


def greedy():
    """Once in a calculation of 21 atoms it wants 4 GiB more than the process has, and may have 1 GiB more."""
    in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]

    def take():
        resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**30, hard))
        try:
            np.ones(2**29)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))

    return Hanging(21, 2, take)
'''
CALCULATORS = {"make": None, "sleeps": IN_GAP, "computes": SLIDE, "swallows": SUPERCELLS, "greedy": IN_GAP}
"""Which case costs whom its verdicts."""
SAID = {
    "sleeps": "timed out after 2 s (--probe-timeout) at frame 3, model call 4",
    "computes": "timed out after 2 s (--probe-timeout) at frame 2, model call 3",
    "swallows": "timed out after 2 s (--probe-timeout) at frame 8, model call 9",
    "greedy": "out of memory on host with 21 atoms in one structure (frame 1): ",
}
WORKERS = {"one process": (), "-n 2": ("-n", "2")}

OWN = """
import time

import pytest


@pytest.mark.timeout(3)
def test_own():
    time.sleep(100)
"""


@pytest.fixture(scope="module", params=WORKERS)
def hanging(request, tmp_path_factory, sound, recorded, supercells, run_probes_in):
    """All of them in one run, among a test of the user's own that pytest-timeout ends, and its longer timers."""
    folder = tmp_path_factory.mktemp("hanging")
    (folder / "calc.py").write_text(sound + HANGING)
    (folder / "test_own.py").write_text(OWN)
    specs = [f"--calculator=py:./calc.py:{calculator}" for calculator in CALCULATORS]
    references = ("--probe-reference-only", f"--probe-reference={recorded}", f"--probe-reference={supercells}")
    return run_probes_in(
        folder, *specs, *references, f"--probe-timeout={LIMIT_S:g}",
        "test_own.py", "--timeout=50", "-o", "faulthandler_timeout=1", *CASES, *WORKERS[request.param],
    )  # fmt: skip


def test_the_run_goes_on_to_its_end(hanging):
    assert hanging.code == pytest.ExitCode.TESTS_FAILED
    card = hanging.card
    assert card.complete
    assert card.verdict == "failed"
    assert card.options.timeout_s == LIMIT_S
    assert card.selected == len(card.results) == len(CALCULATORS) * sum(SIZE.values())
    assert len(card.measurements) == len(CALCULATORS) * len(SIZE)


def test_it_costs_the_items_of_one_measurement(hanging):
    for calculator, case in CALCULATORS.items():
        rows = hanging.card.rows(calculator)
        states = Counter((r.case, r.verdict.state.value) for r in rows)
        assert states == {(name, "error" if name == case else "passed"): size for name, size in SIZE.items()}
        assert all(r.verdict.reason.startswith(SAID[calculator]) for r in rows if r.case == case)


def test_all_other_numbers_are_those_of_a_run_without_a_hang(hanging):
    sound = {(r.case, r.quantity): r.measured for r in hanging.card.rows("make")}
    for calculator, case in CALCULATORS.items():
        found = {(r.case, r.quantity): r.measured for r in hanging.card.rows(calculator) if r.case != case}
        assert found == {key: value for key, value in sound.items() if key[0] != case}


def test_the_time_and_the_calls_of_what_timed_out_are_counted(hanging):
    timed_out = [m for m in hanging.card.measurements if m.problem and m.problem.reason.startswith("timed out")]
    assert sorted((m.calculator, m.model_calls, m.batches) for m in timed_out) == [
        ("computes", 2, 3), ("sleeps", 3, 4), ("swallows", 8, 9)
    ]  # fmt: skip
    assert all(m.wall_s >= LIMIT_S and m.model_s > LIMIT_S / 2 for m in timed_out)


def test_it_is_said_on_the_terminal_and_other_timeouts_work(hanging):
    assert f"barrier: error: {SAID['sleeps']}" in hanging.text
    assert f"barrier: error: {SAID['greedy']}" in hanging.text
    assert "Timeout (>3.0s) from pytest-timeout" in hanging.text, hanging.text
    assert "verdict: FAILED (" in hanging.text


def test_a_hang_in_the_middle_of_a_timing(tmp_path, sound, quick_speed, run_probes):
    """After the calls of another size; how many those are depends on when they cease to become faster."""
    (tmp_path / "calc.py").write_text(sound + HANGING)
    references = ("--probe-reference-only", f"--probe-reference={quick_speed}")
    run = run_probes("--calculator=py:./calc.py:swallows", *references, "--probe-timeout=1", "-k", "quick_speed")
    assert [r.quantity for r in run.card.results] == ["latency_5", "latency_20"]
    for row in run.card.results:
        assert row.verdict.state == "error"
        assert row.verdict.reason.startswith("timed out after 1 s (--probe-timeout) at frame 0, model call ")
    (measurement,) = run.card.measurements
    assert measurement.model_calls > 8
    assert measurement.batches == measurement.model_calls + 1
    assert measurement.wall_s >= 1


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("given", ["soon", "0"])
def test_an_unusable_timeout(given, workers, run_probes):
    run = run_probes("--calculator=ase:EMT", f"--probe-timeout={given}", *WORKERS[workers])
    run.assert_usage_error(f"--probe-timeout={given} must be a positive number of seconds", "leave it out for no limit")
