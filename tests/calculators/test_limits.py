"""A measurement that takes too long is an error, whatever the calculator does, and leaves nothing behind."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from support import DoubleWell, double_well_path, path_case

from mlff_probes import Benchmark, evaluate
from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.limits import AGAIN_S, Limit, TimeUp, forget, positive_seconds
from mlff_probes.core.errors import InputError
from mlff_probes.measure import BY_KIND
from mlff_probes.measure.measurement import measure_case
from mlff_probes.measure.results import Result

SHORT_S = 0.5
LONG_S = 100.0
"""What a test would take if nothing ended it."""

CASE = path_case(double_well_path(5))


class Hanging(DoubleWell):
    """Computes the first `calls` structures, hangs in the next one in the way `hang`, and is sound after that."""

    def __init__(self, hang, calls=2):
        super().__init__()
        self.hang, self.calls = hang, calls

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        self.calls -= 1
        if self.calls == -1:
            self.hang(self, atoms)
        super().calculate(atoms, properties, system_changes)


def sleep(*_):
    time.sleep(LONG_S)


def busy(*_):
    end = time.monotonic() + LONG_S
    while time.monotonic() < end:
        sum(range(100))


def catch_exceptions(*_):
    while True:
        try:
            time.sleep(LONG_S)
        except Exception:
            continue


def catch_all_for_a_while(*_):
    """As somebody who tries again and again, with a bare except."""
    for _attempt in range(2):
        try:
            time.sleep(LONG_S)
        except BaseException:
            continue


def make_it_an_error(*_):
    try:
        time.sleep(LONG_S)
    except BaseException as error:
        raise RuntimeError("the calculation failed") from error


def exit_instead(*_):
    try:
        time.sleep(LONG_S)
    finally:
        raise SystemExit(1)


def half_done(calculator, atoms):
    """Sums up an energy in the results themselves."""
    calculator.atoms = atoms.copy()
    calculator.results = {"energy": 1e3, "forces": np.zeros((len(atoms), 3))}
    time.sleep(LONG_S)


HANGS = [sleep, busy, catch_exceptions, catch_all_for_a_while, make_it_an_error, exit_instead]


def assert_timed_out(measurement, after=SHORT_S):
    assert measurement.values == {}
    assert measurement.problem.state == "error"
    assert measurement.problem.reason.startswith(f"timed out after {after:g} s (--probe-timeout) at ")
    assert after <= measurement.wall_s < LONG_S / 2


@pytest.fixture(autouse=True)
def _nothing_stays_behind():
    """No thread, and all signals as they were."""
    before = [signal.getsignal(number) for number in (signal.SIGURG, signal.SIGALRM, signal.SIGINT)]
    threads = threading.active_count()
    yield
    assert [signal.getsignal(number) for number in (signal.SIGURG, signal.SIGALRM, signal.SIGINT)] == before
    assert threading.active_count() == threads


@pytest.mark.parametrize("hang", HANGS)
def test_a_calculator_that_hangs_is_an_error_and_the_next_measurement_is_right(hang):
    calculator = as_calculator(Hanging(hang))
    measurement = measure_case(calculator, CASE, timeout=SHORT_S)
    assert_timed_out(measurement)
    assert measurement.problem.reason.endswith("at frame 2, model call 3")
    assert (measurement.model_calls, measurement.batches) == (2, 3)
    assert SHORT_S * 0.9 < measurement.model_s <= measurement.wall_s
    again = measure_case(calculator, CASE, timeout=LONG_S)
    assert again.problem is None
    sound = measure_case(as_calculator(DoubleWell()), CASE)
    assert again.values == sound.values
    assert (again.model_calls, again.batches) == (sound.model_calls, sound.batches)


def test_half_done_results_are_not_taken_for_those_of_the_same_structure():
    calculator = as_calculator(Hanging(half_done, calls=0))
    assert_timed_out(measure_case(calculator, CASE, timeout=SHORT_S))
    assert evaluate(calculator, CASE.frames[:1]).energies[0] == evaluate(DoubleWell(), CASE.frames[:1]).energies[0]


def test_one_that_goes_on_is_interrupted_again():
    start = time.monotonic()
    assert_timed_out(measure_case(as_calculator(Hanging(catch_all_for_a_while)), CASE, timeout=SHORT_S))
    assert time.monotonic() - start >= SHORT_S + AGAIN_S


def test_a_batch_that_hangs():
    calls = []

    def batch(frames, forces):
        calls.append(len(frames))
        if len(calls) == 2:
            time.sleep(LONG_S)
        return [(0.0, np.zeros((len(frame), 3))) for frame in frames]

    model = replace(as_calculator(DoubleWell()), batch=batch, batch_atoms=4)
    measurement = measure_case(model, CASE, timeout=SHORT_S)
    assert_timed_out(measurement)
    assert "at frame 2 to frame 3, model call 3" in measurement.problem.reason
    assert (measurement.model_calls, measurement.batches) == (2, 2)


def test_what_was_told_last_is_said(monkeypatch):
    def driver(calculator, case, conditions):
        for step in range(5):
            conditions.report(f"step {step}, fmax 0.1 eV/A")
            evaluate(calculator, case.frames[step : step + 1], name=lambda _, step=step: f"image 1 in step {step}")
        raise AssertionError

    told = []
    monkeypatch.setitem(BY_KIND, "fixed_path", replace(BY_KIND["fixed_path"], measure=driver))
    measurement = measure_case(as_calculator(Hanging(sleep)), CASE, timeout=SHORT_S, report=told.append)
    reason = "at image 1 in step 2, model call 3; last step: step 2, fmax 0.1 eV/A"
    assert measurement.problem.reason.endswith(reason)
    assert len(told) == 3


def test_only_the_model_is_interrupted(monkeypatch):
    """Our own bookkeeping and a terminal that is being written to end what they do."""
    done = []

    def driver(calculator, case, conditions):
        time.sleep(3 * SHORT_S)
        done.append(True)
        evaluate(calculator, case.frames)
        raise AssertionError

    monkeypatch.setitem(BY_KIND, "fixed_path", replace(BY_KIND["fixed_path"], measure=driver))
    measurement = measure_case(as_calculator(DoubleWell()), CASE, timeout=SHORT_S)
    assert_timed_out(measurement)
    assert done == [True]
    assert "at frame 0, model call 1" in measurement.problem.reason


def test_work_after_the_last_call_is_waited_for(monkeypatch):
    def driver(*_):
        time.sleep(2 * SHORT_S)
        return Result({}, {}, evaluate(DoubleWell(), CASE.frames))

    monkeypatch.setitem(BY_KIND, "fixed_path", replace(BY_KIND["fixed_path"], measure=driver))
    assert measure_case(as_calculator(DoubleWell()), CASE, timeout=SHORT_S).problem is None


def test_without_a_limit_nothing_is_set_up():
    seen = []

    def look(*_):
        seen.append((signal.getsignal(signal.SIGURG), threading.active_count()))

    before = (signal.getsignal(signal.SIGURG), threading.active_count())
    assert measure_case(as_calculator(Hanging(look)), CASE).problem is None
    assert seen == [before]


def test_ctrl_c_passes_and_undoes_all():
    def stop(*_):
        gc.disable()  # hypothesis listens to collections, and an exception in a listener is lost
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(LONG_S)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to it
    try:
        with pytest.raises(KeyboardInterrupt):
            measure_case(as_calculator(Hanging(stop)), CASE, timeout=LONG_S)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        gc.enable()
        signal.signal(signal.SIGINT, before)


def test_the_same_signal_from_elsewhere_does_nothing():
    def disturb(*_):
        os.kill(os.getpid(), signal.SIGURG)
        time.sleep(0.05)

    assert measure_case(as_calculator(Hanging(disturb)), CASE, timeout=LONG_S).problem is None


def test_in_another_thread_it_ends_with_the_call():
    found = []

    def measure():
        slow = Hanging(lambda *_: time.sleep(2 * SHORT_S))
        found.append(measure_case(as_calculator(slow), CASE, timeout=SHORT_S))

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    assert_timed_out(found[0])
    assert found[0].wall_s >= 2 * SHORT_S
    assert "at frame 2, model call 3" in found[0].problem.reason


def test_a_limit_within_a_limit():
    with Limit(LONG_S) as outer:
        with pytest.raises(TimeUp), Limit(SHORT_S) as inner, inner.call("frame 0", 1):
            time.sleep(LONG_S)
        with outer.call("frame 0", 1):
            time.sleep(0.01)


class Alarm(Exception):
    pass


@pytest.fixture
def alarm():
    """What pytest-timeout does around a test: a handler of SIGALRM that raises, and a timer."""

    def ring(*_):
        raise Alarm

    previous = signal.signal(signal.SIGALRM, ring)
    running = signal.setitimer(signal.ITIMER_REAL, 0)

    def start(seconds):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return ring

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)
    signal.setitimer(signal.ITIMER_REAL, *running)


def test_a_longer_timer_around_goes_on(alarm):
    ring = alarm(LONG_S)
    assert_timed_out(measure_case(as_calculator(Hanging(sleep)), CASE, timeout=SHORT_S))
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < LONG_S - SHORT_S
    assert signal.getsignal(signal.SIGALRM) is ring
    alarm(0.1)
    with pytest.raises(Alarm):
        time.sleep(LONG_S)


def test_a_shorter_timer_around_rings_as_ever(alarm):
    alarm(0.2)
    measurement = measure_case(as_calculator(Hanging(sleep)), CASE, timeout=LONG_S)
    assert "the calculator raised at frame 2: Alarm" in measurement.problem.reason


def test_a_calculator_with_a_timer_of_its_own(alarm):
    """Which sets it, clears it, and puts the default handler back, that would end the process."""

    def own(*_):
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Alarm):
            time.sleep(LONG_S)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        time.sleep(LONG_S)

    alarm(LONG_S)
    assert_timed_out(measure_case(as_calculator(Hanging(own)), CASE, timeout=SHORT_S))


def test_faulthandler_dumps_as_ever(tmp_path):
    with (tmp_path / "dump").open("w") as file:
        faulthandler.dump_traceback_later(SHORT_S / 2, file=file)
        assert_timed_out(measure_case(as_calculator(Hanging(sleep)), CASE, timeout=SHORT_S))
        faulthandler.cancel_dump_traceback_later()
    assert "in sleep" in (tmp_path / "dump").read_text()


def test_what_was_left_half_done_is_forgotten_in_the_parts_of_a_sum_too():
    atoms = CASE.frames[0].copy()
    parts = [LennardJones(), LennardJones(sigma=2.0)]
    both = SumCalculator(parts)
    right = both.get_potential_energy(atoms)
    for part in (both, *parts):
        part.results = {"energy": 1e3}
    assert both.get_potential_energy(atoms) == 1e3
    forget(both)
    assert both.get_potential_energy(atoms) == right


def test_a_reset_that_cannot_be_had():
    class Odd:
        def reset(self, everything):
            raise AssertionError

    forget(Odd())
    forget(object())


@pytest.mark.parametrize(("given", "seconds"), [("2", 2.0), ("0.5", 0.5), (3, 3.0), ("1e3", 1000.0), (None, None)])
def test_seconds(given, seconds):
    assert positive_seconds(given, "timeout") == seconds


@pytest.mark.parametrize("given", ["", "soon", "0", "-1", "nan", "inf", "1e300", "2s", 0, -0.5, [1]])
def test_no_seconds(given):
    with pytest.raises(InputError) as caught:
        positive_seconds(given, "--probe-timeout")
    assert str(caught.value) == (
        f"--probe-timeout={given} must be a positive number of seconds, for instance --probe-timeout=600; "
        "leave it out for no limit"
    )


def test_benchmark():
    frames = double_well_path(5)
    bench = Benchmark(model=Hanging(sleep), migration_path=frames, timeout=SHORT_S, migrating_atom=1).run()
    assert bench.verdict in ("failed", "nothing judged")
    assert {row.verdict.state.value for row in bench.scorecard.results} == {"error"}
    assert all("timed out after 0.5 s" in row.verdict.reason for row in bench.scorecard.results)
    assert bench.scorecard.options.timeout_s == SHORT_S
    with pytest.raises(InputError, match="timeout=-1 must be a positive number of seconds"):
        Benchmark(model=DoubleWell(), timeout=-1)
