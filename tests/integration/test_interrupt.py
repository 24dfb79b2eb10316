"""Ctrl-C or SIGTERM in the middle of a run: what was judged is written, marked as incomplete; exit code 2."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support import STORED, STORED_QUANTITIES

SLOW = '''

import time


class Slow(Counted):
    """Computes the first structures, then sleeps as long as a large model might think."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        with open("calls.log", encoding="utf-8") as log:
            if len(log.readlines()) >= {calls}:
                time.sleep(100)


def slow():
    return Slow()
'''

LARGEST = sorted(len(case.stored.energies) for case in STORED)[-3:]
SLEEP_AFTER = {"one process": 9 + 5 + 3, "-n 2": sum(LARGEST)}
"""Structures before the sleep. In one process: the 9 and 5 of two paths, 3 of what comes then. With two workers: more
than one finished measurement and two half-done ones can hold, whichever they are, so two are finished."""
WORKERS = {"one process": (), "-n 2": ("-n", "2")}
SENT = {
    "Ctrl-C": (os.killpg, signal.SIGINT, "interrupted"),
    "a job is cancelled": (os.killpg, signal.SIGTERM, "terminated (SIGTERM)"),
    "the process is told": (os.kill, signal.SIGTERM, "terminated (SIGTERM)"),
}
"""Who is told, by which signal, and what the scorecard says."""
RUNS = [("one process", "Ctrl-C"), ("one process", "the process is told"), *(("-n 2", how) for how in SENT)]
WAIT_S, SLEPT_S = 30.0, 2.0


@pytest.fixture(scope="module", params=RUNS, ids=": ".join)
def interrupted(request, tmp_path_factory, counted, start_probes, finish, recorded):
    """A run that is stopped while a calculator sleeps."""
    where, how = request.param
    directory = tmp_path_factory.mktemp("interrupted")
    (directory / "calc.py").write_text(counted + SLOW.replace("{calls}", str(SLEEP_AFTER[where])))
    process = start_probes(
        directory,
        "--calculator=py:./calc.py:slow",
        "--probe-reference-only",
        f"--probe-reference={recorded}",
        *WORKERS[where],
    )
    log, patience = directory / "calls.log", time.monotonic() + WAIT_S
    while not log.exists() or len(log.read_text().splitlines()) < SLEEP_AFTER[where]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.02)
    time.sleep(SLEPT_S)  # the reports of the workers are on their way
    tell, what, _ = SENT[how]
    tell(process.pid, what)
    return finish(process, directory)


@pytest.fixture
def said(request):
    """What the scorecard says of the signal."""
    return SENT[request.node.callspec.params["interrupted"][1]][2]


@pytest.fixture
def asleep_s(request):
    """The least time that the measurements cut short have slept, all together."""
    where, _ = request.node.callspec.params["interrupted"]
    return 0.9 * SLEPT_S * (2 if where == "-n 2" else 1)


def test_exit_code_is_that_of_an_interruption(interrupted):
    assert interrupted.code == pytest.ExitCode.INTERRUPTED, interrupted.output


def test_scorecard_holds_what_was_judged(interrupted, said, asleep_s):
    card = interrupted.card
    assert card.verdict == "incomplete"
    assert card.interrupted == said
    assert not card.complete
    assert card.selected == STORED_QUANTITIES
    assert 0 < len(card.results) < STORED_QUANTITIES
    assert {row.verdict.state.value for row in card.results} <= {"passed", "reported"}
    assert all(row.measured.value is not None for row in card.results)
    assert len(card.measurements) >= 2
    assert {row.case for row in card.results} == {measurement.case for measurement in card.measurements}
    assert card.time.measured_s > card.time.interrupted_s > asleep_s
    assert card.time.model_calls == sum(measurement.model_calls for measurement in card.measurements) > 0


def test_terminal_says_so(interrupted, said):
    rows = len(interrupted.card.results)
    interrupted.matches(
        "slow against the references*",
        "time: * s in what was cut short of *",
        f"verdict: INCOMPLETE (*passed*): {rows} of {STORED_QUANTITIES} quantities have a verdict, {said}",
        "wrote *card.json*",
    )


TOLD = '''

import os
import signal


class Catching(Sound):
    """Catches all that is raised in a call, as a loop that tries again does."""

    def calculate(self, *args, **kwargs):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            pass
        super().calculate(*args, **kwargs)


def catching():
    return Catching()


def loading():
    os.kill(os.getpid(), signal.SIGTERM)
    return Sound()


def catching_at_once():
    try:
        return loading()
    except BaseException:
        return Sound()
'''


def test_a_model_that_catches_everything_does_not_swallow_a_signal(tmp_path, sound, run_probes, recorded):
    (tmp_path / "calc.py").write_text(sound + TOLD)
    run = run_probes("--calculator=py:./calc.py:catching", "--probe-reference-only", f"--probe-reference={recorded}")
    assert run.code == pytest.ExitCode.INTERRUPTED, run.output
    assert run.card.interrupted == "terminated (SIGTERM)"
    assert run.card.verdict == "incomplete"


@pytest.mark.parametrize("factory", ["loading", "catching_at_once"])
def test_a_signal_while_a_calculator_is_loaded_ends_the_run_with_a_word(tmp_path, sound, run_probes, factory):
    (tmp_path / "calc.py").write_text(sound + TOLD)
    run = run_probes(f"--calculator=py:./calc.py:{factory}")
    assert run.code == pytest.ExitCode.INTERRUPTED, run.output
    said = "terminated (SIGTERM) while calculators were being loaded: nothing was measured, and no scorecard is written"
    assert run.output.strip() == f"Exit: {said}"
    assert not (tmp_path / "card.json").exists()
