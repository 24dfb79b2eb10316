"""The latency probe with a clock that is told what to say: the printed numbers are asserted exactly."""

from __future__ import annotations

import dataclasses
import gc

import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones

from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.errors import EvaluationError
from mlff_probes.measure import latency, measure_case
from mlff_probes.reference import load_cases
from mlff_probes.scorecard.format import latency_line

CASE = next(case for case in load_cases() if case.id == "sb2te3_45_atoms")


class Clock:
    """Advances by a given time between the two readings around a call, and by nothing otherwise."""

    def __init__(self, seconds):
        self.seconds, self.now, self.readings = iter(seconds), 0.0, 0

    def __call__(self):
        if self.readings % 2:
            self.now += next(self.seconds)
        self.readings += 1
        return self.now


class Still(Calculator):
    """Zero energy and forces; remembers the positions it saw and whether the collector rested."""

    implemented_properties = ("energy", "forces")

    def __init__(self):
        super().__init__()
        self.seen, self.collecting = [], []

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.seen.append(atoms.positions.copy())
        self.collecting.append(gc.isenabled())
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def test_numbers_of_a_known_clock():
    warm_up = [9.0] * latency.WARM_UP_CALLS
    timed = [0.010] * 3 + [0.015] + [0.020] * 7 + [0.025] + [0.030] * 3
    result = latency.force_call_latency(as_calculator(Still()), CASE, clock=Clock(warm_up + timed))
    d = result.diagnostics
    assert result.values["latency"].value == pytest.approx(20.0)
    assert (d["latency_p25_ms"], d["latency_p75_ms"]) == (pytest.approx(17.5), pytest.approx(22.5))
    assert d["us_per_atom"] == pytest.approx(20e3 / 45)
    assert d["steps_per_s"] == pytest.approx(50.0)
    assert d["ns_per_day"] == pytest.approx(50 * 86400 * 1e-6)
    assert (d["timed_calls"], d["n_atoms"]) == (15, 45)
    assert d["peak_memory_mib"] > 1
    assert result.evaluation.calls == 18


def test_every_call_sees_moved_positions_and_no_collector():
    calculator = Still()
    assert gc.isenabled()
    latency.force_call_latency(as_calculator(calculator), CASE)
    assert gc.isenabled()
    assert not any(calculator.collecting)
    seen = np.array(calculator.seen)
    assert (np.abs(np.diff(seen, axis=0)).max(axis=(1, 2)) > 1e-4).all()
    assert np.abs(seen - CASE.frames[0].positions).max() < 10 * latency.MOVE_A


def test_the_device_is_synchronised_around_every_call():
    events = []
    calculator = dataclasses.replace(as_calculator(Still()), synchronize=lambda: events.append("sync"))
    result = latency.force_call_latency(calculator, CASE)
    assert len(events) >= 2 * result.evaluation.calls


def test_a_calculator_that_fails_is_an_error():
    class Breaks(Still):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            if len(self.seen) == 3:
                self.results["forces"][0, 0] = np.nan

    with pytest.raises(EvaluationError, match="call 3"):
        latency.force_call_latency(as_calculator(Breaks()), CASE)
    assert gc.isenabled()
    assert measure_case(as_calculator(Breaks()), CASE).problem.state == "error"


def test_the_line_in_the_scorecard_names_numbers_and_device():
    calculator = load_calculator("ase:LennardJones")
    assert isinstance(calculator.ase, LennardJones)
    line = latency_line(measure_case(calculator, CASE), calculator.identity)
    for part in (
        "ms a force call on 45 atoms",
        "us/atom",
        "steps/s",
        "ns/day at 1 fs",
        "MiB",
        "dtype float64, device cpu (",
    ):
        assert part in line
