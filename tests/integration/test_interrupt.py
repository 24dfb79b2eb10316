"""Ctrl-C in the middle of a run: what was judged is written, marked as incomplete, and the exit code is pytest's."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support import STORED_QUANTITIES

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

SLEEP_AFTER = {"one process": 9 + 5 + 3, "-n 2": 90}
"""Structures before the sleep. In one process: the 9 and 5 of two paths, 3 of what comes then. With two workers, of
187: enough for two measurements to be finished whichever they are, while two others are half done."""
WORKERS = {"one process": (), "-n 2": ("-n", "2")}
WAIT_S = 30.0


@pytest.fixture(scope="module", params=SLEEP_AFTER)
def interrupted(request, tmp_path_factory, counted, start_probes, finish, recorded):
    """A run that is stopped by Ctrl-C while a calculator sleeps."""
    directory = tmp_path_factory.mktemp("interrupted")
    (directory / "calc.py").write_text(counted + SLOW.replace("{calls}", str(SLEEP_AFTER[request.param])))
    process = start_probes(
        directory,
        "--calculator=py:./calc.py:slow",
        "--probe-reference-only",
        f"--probe-reference={recorded}",
        *WORKERS[request.param],
    )
    log, patience = directory / "calls.log", time.monotonic() + WAIT_S
    while not log.exists() or len(log.read_text().splitlines()) < SLEEP_AFTER[request.param]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.02)
    time.sleep(2.0)  # the reports of the workers are on their way
    os.killpg(process.pid, signal.SIGINT)
    return finish(process, directory)


def test_exit_code_is_that_of_an_interruption(interrupted):
    assert interrupted.code == pytest.ExitCode.INTERRUPTED, interrupted.output


def test_scorecard_holds_what_was_judged(interrupted):
    card = interrupted.card
    assert card.verdict == "incomplete"
    assert card.interrupted == "interrupted"
    assert not card.complete
    assert card.selected == STORED_QUANTITIES
    assert 0 < len(card.results) < STORED_QUANTITIES
    assert {row.verdict.state.value for row in card.results} <= {"passed", "reported"}
    assert all(row.measured.value is not None for row in card.results)
    assert len(card.measurements) >= 2
    assert {row.case for row in card.results} == {measurement.case for measurement in card.measurements}
    assert card.time.model_calls == sum(measurement.model_calls for measurement in card.measurements) > 0


def test_terminal_says_so(interrupted):
    rows = len(interrupted.card.results)
    interrupted.matches(
        "slow against the references*",
        f"verdict: INCOMPLETE (*passed*): {rows} of {STORED_QUANTITIES} quantities have a verdict, interrupted",
        "wrote *card.json*",
    )
