"""Speed with a clock and a device that are told what to say: the numbers that are printed are asserted exactly."""

from __future__ import annotations

import dataclasses
import gc
from unittest import mock

import numpy as np
import pytest
from fake_gpu import FakeGpu, OnGpu, on_gpu

from mlff_probes.calculators.device import HOST, Device
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.errors import EvaluationError
from mlff_probes.core.records import NOT_STATED, State
from mlff_probes.measure.inference import speed
from mlff_probes.measure.kind import Conditions
from mlff_probes.measure.measurement import measure_case
from mlff_probes.scorecard.model import RunOptions, Scorecard
from mlff_probes.scorecard.reports import markdown, terminal
from mlff_probes.session.suite import Suite

CASE = next(case for case in load_cases() if case.id == "sb2te3_speed")
SIZES = CASE.protocol.sizes(CASE.frames[0])


def linear(call, atoms):
    """2 ms and 10 us an atom."""
    return 2e-3 + 1e-5 * atoms


def with_protocol(**changes):
    return dataclasses.replace(CASE, protocol=CASE.protocol.model_copy(update=changes))


def timed(cost=linear, *, case=CASE, batch=True, shared="", **model):
    gpu = FakeGpu()
    found = OnGpu(gpu, cost, **model)
    result = speed.speed(on_gpu(found, batch=batch), case, Conditions(shared=shared), clock=gpu.clock)
    return result, found


def named(result, name):
    return next(timing for timing in result.timings if timing.name == name)


def card_of(calculator, case, clock):
    """The scorecard of a run of one case."""
    suite = Suite([calculator], [case])
    with mock.patch.object(speed.speed, "__kwdefaults__", speed.speed.__kwdefaults__ | {"clock": clock}):
        results = [suite.result(request) for request in suite.requests("speed")]
    return Scorecard.build(
        calculators=[calculator.identity], cases=[case], results=results, measurements=suite.measurements.values(),
        options=RunOptions(tier="quick", strict=False, any_level_of_theory=False), selected=len(results),
        measured_s=1.0,
    )  # fmt: skip


def test_latency_is_the_time_of_host_and_device():
    result, _ = timed()
    for atoms in SIZES:
        assert result.values[f"latency_{atoms}"].value == pytest.approx(3.0 + 0.01 * atoms)
        assert result.values[f"latency_{atoms}"].uncertainty == pytest.approx(0.0, abs=1e-9)


def test_the_printed_numbers():
    gpu = FakeGpu()
    card = card_of(on_gpu(OnGpu(gpu, linear)), CASE, gpu.clock)
    rows = {tuple(row[:2]): row for row in speed_report(card).rows}
    # atoms, structures, ms, percentiles, calls, us/atom, steps/s, ns/day, neighbours, copies, model, other
    assert rows["500", "1"][2:-2] == [
        "8.0", "8.0 to 8.0", "30", "16.0", "125.0", "10.8", "5 %", "9 %", "86 %", "0 %",
    ]  # fmt: skip
    assert rows["500", "1"][-1] == "500"
    # 64 structures of 20 atoms: 0.4 ms of neighbours, then 2 + 12.8 ms on the device, while the host goes on
    assert rows["1,280", "64"][2:8] == ["15.2", "15.2 to 15.2", "3", "11.9", "4210.5", "—"]
    text = terminal.render(card, width=400)
    for part in (
        "speed: dtype float32, device cuda:0 (Fake H100), 1 threads, eager, cuequivariance kernels, CUDA 12.8, driver "
        "570.86, TF32 off, OMP_WAIT_POLICY",
        "a call on 100 atoms: energy 2.2 ms (batch); energy and forces 3.7 ms (batch); energy, forces and stress "
        "4.0 ms (ase)",
        "cost of a call on N atoms: 3.00 (3.00 to 3.00) ms + 10.0 (10.0 to 10.0) us x N x (N/1000)^(p-1), "
        "p = 1.00 (1.00 to 1.00); a nanosecond of 10,000 atoms at 1 fs: 28.6 (28.6 to 28.6) h "
        "(beyond the sizes timed, 95 % intervals)",
    ):
        assert part in text
    assert "| 500 | 1 | 8.0 | 8.0 to 8.0 |" in markdown.render(card)


def speed_report(card):
    from mlff_probes.scorecard.reports.speed import speed_reports

    (report,) = speed_reports(card, card.calculators[0])
    return report


def test_percentiles_and_the_uncertainty_of_a_median():
    tenths = [1.0, 1.2, 1.4, 1.6, 1.8, 2.0]
    result, _ = timed(lambda call, _: tenths[call % 6] * 1e-3, batch=False, launch_s=0.0)
    timing = named(result, "latency of 20 atoms")
    value = result.values["latency_20"]
    assert value.value == pytest.approx(np.median(timing.seconds) * 1e3)
    assert len(timing.seconds) == 30
    assert value.uncertainty == pytest.approx(
        2.04523 * 1.25331 * np.std(timing.seconds, ddof=1) * 1e3 / np.sqrt(30), rel=1e-4
    )
    assert set(np.round(timing.seconds, 4)) == {round(ms * 1e-3, 4) for ms in tenths}


def test_the_parts_of_a_call_add_up():
    result, _ = timed()
    staged = named(result, "stages of 1960 atoms")
    device = 2e-3 + 1e-5 * 1960
    assert staged.stages == pytest.approx({"neighbours": 4e-4, "copies": 0.1 * device, "model": 6e-4 + 0.9 * device})
    assert np.mean(staged.seconds) == pytest.approx(1e-3 + device)


def test_a_batch_against_single_calls():
    value = timed()[0].values["batch_speedup"]
    assert value.value == pytest.approx(64 * 2.98 / 15.2)
    assert value.note == "64 structures of 20 atoms at once"
    alone = timed(batch=False)[0].values["batch_speedup"]
    assert (alone.value, alone.problem.by_nature) == (None, True)


def test_the_cost_model():
    values = timed()[0].values
    assert values["overhead"].value == pytest.approx(3.0, rel=1e-3)
    assert values["time_per_atom"].value == pytest.approx(10.0, rel=1e-3)
    assert values["size_exponent"].value == pytest.approx(1.0, abs=1e-3)
    assert values["nanosecond_10000"].value == pytest.approx(0.103 * 1e6 / 3600, rel=1e-3)


def test_peaks_are_those_of_each_size():
    result, _ = timed(bytes_an_atom=1000)
    peaks = {timing.atoms: timing.device_peak_bytes for timing in result.timings if timing.name.startswith("latency")}
    assert peaks == {atoms: 1000 * atoms for atoms in SIZES}
    assert all(timing.host_peak_bytes > 10 * 2**20 for timing in result.timings)


# Warm-up


def test_calls_count_once_they_have_ceased_to_become_faster():
    result, _ = timed(lambda call, _: (0.5, 0.4, 0.3)[call - 1] if call < 4 else 0.01, batch=False)
    first = named(result, "latency of 20 atoms")
    assert (first.warm_up_calls, first.steady) == (7, True)
    assert max(first.seconds) == pytest.approx(0.011)
    assert named(result, "latency of 45 atoms").warm_up_calls == 2
    assert result.diagnostics["notes"] == []


def test_a_model_that_never_becomes_steady_is_named():
    result, _ = timed(lambda call, _: 0.9**call, batch=False, case=with_protocol(repeats=((2, 2, 1),), seconds=1e3))
    first = named(result, "latency of 20 atoms")
    assert (first.warm_up_calls, first.steady) == (speed.MOST_WARM_UP_CALLS, False)
    assert result.diagnostics["notes"] == ["still becoming faster after 20 calls: latency of 20 atoms"]


@pytest.mark.parametrize("calls", [4, 8, 30])
def test_the_interval_of_a_median_holds_the_truth(calls):
    rng = np.random.default_rng(calls)
    timing = named(timed(case=with_protocol(repeats=((2, 2, 1),)), batch=False)[0], "latency of 20 atoms")
    inside = 0
    for seconds in 0.02 + 0.002 * rng.normal(size=(400, calls)):
        found = speed.latency_value(timing.model_copy(update={"seconds": tuple(seconds)}))
        inside += abs(found.value - 20.0) < found.uncertainty
    assert 0.93 < inside / 400 < 0.995


def test_a_compilation_costs_none_of_the_time():
    """40 s of the first call of each size."""
    seen = set()

    def cost(call, atoms):
        first = atoms not in seen
        seen.add(atoms)
        return 40.0 if first else linear(call, atoms)

    result, _ = timed(cost)
    assert result.values["latency_1960"].value == pytest.approx(22.6)
    assert result.diagnostics["notes"] == []


def test_every_call_sees_moved_positions():
    _, model = timed(batch=False, case=with_protocol(repeats=((2, 2, 1),)))
    seen = np.array(model.seen)
    assert len(seen) > 30
    assert (np.abs(np.diff(seen, axis=0)).max(axis=(1, 2)) > 1e-4).all()
    at_rest = CASE.frames[0].repeat((2, 2, 1)).positions
    assert np.abs(seen - at_rest).max() < 10 * speed.MOVE_A


def test_energies_alone_ask_for_no_forces_and_stress_only_where_there_is_one():
    result, model = timed(batch=False)
    assert model.asked.count(("energy",)) == speed.APART_CALLS + 2
    assert [t.what for t in result.timings if t.name.endswith("of 100 atoms")] == [
        speed.FORCES, speed.ENERGY, speed.FORCES, speed.STRESS,
    ]  # fmt: skip
    silent = dataclasses.replace(on_gpu(NoStress(gpu := FakeGpu(), linear)), properties=None)
    result = speed.speed(silent, CASE, clock=gpu.clock)
    assert result.values["latency_1960"].value
    (note,) = result.diagnostics["notes"]
    assert note.startswith("energy, forces and stress were not timed: the calculator raised at frame 0: PropertyNot")
    gpu = FakeGpu()
    bare = dataclasses.replace(on_gpu(OnGpu(gpu, linear)), properties=frozenset({"energy", "forces"}))
    assert speed.STRESS not in [t.what for t in speed.speed(bare, CASE, clock=gpu.clock).timings]


class NoStress(OnGpu):
    """It has no stress, and does not say so."""

    implemented_properties = ("energy", "forces")

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        del self.results["stress"]


# The collector


def test_no_garbage_is_collected_while_the_clock_runs():
    states = []

    def cost(call, atoms):
        states.append(gc.isenabled())
        return 1e-3

    assert gc.isenabled()
    timed(cost)
    assert gc.isenabled()
    assert states
    assert not any(states)
    gc.disable()
    try:
        timed(cost)
        assert not gc.isenabled()
    finally:
        gc.enable()


# The end of the ladder


def test_sizes_beyond_the_time_are_left_out():
    result, _ = timed(lambda call, atoms: 1e-3 * atoms, batch=False)
    done = [atoms for atoms in SIZES if result.values[f"latency_{atoms}"].value]
    assert done == [20, 45, 100, 210, 500]
    value = result.values["latency_1000"]
    assert (value.problem.state, value.problem.by_nature) == ("not applicable", True)
    assert value.problem.reason.startswith("1000 atoms would take some 8.0 s, and ")
    assert result.diagnostics["notes"] == [f"larger sizes were left out: {value.problem.reason}"]
    assert result.values["latency_1960"].problem == value.problem


def test_sizes_beyond_the_memory_of_the_host_are_left_out(monkeypatch):
    peaks = iter(range(10**9, 10**15, 10**9))
    monkeypatch.setattr(speed, "host_peak_bytes", lambda: next(peaks))
    monkeypatch.setattr(speed, "host_bytes_available", lambda: 10e9)
    result, _ = timed(batch=False)
    assert "atoms would need some" in result.diagnostics["notes"][0]
    assert result.values["latency_1960"].value is None


def test_a_size_that_does_not_fit_ends_the_ladder():
    def cost(call, atoms):
        if atoms > 300:
            raise MemoryError("no more")
        return linear(call, atoms)

    result, _ = timed(cost, case=with_protocol(batches=(64,)))
    assert result.values["latency_210"].value
    problem = result.values["latency_500"].problem
    assert (problem.state, problem.by_nature) == ("not applicable", True)
    assert "out of memory on host with 500 atoms" in problem.reason
    assert result.values["batch_speedup"].note == "64 structures of 20 atoms at once"  # in halves
    everything = timed_error(lambda call, atoms: cost(call, 10**6))
    assert "out of memory" in everything


def timed_error(cost):
    with pytest.raises(EvaluationError) as raised:
        timed(cost)
    assert gc.isenabled()
    return str(raised.value)


def test_numbers_that_are_none_are_an_error_that_names_the_size():
    class Breaks(OnGpu):
        def calculate(self, atoms=None, *args, **kwargs):
            super().calculate(atoms, *args, **kwargs)
            if len(atoms) == 210:
                self.results["forces"][0, 0] = np.nan

    gpu = FakeGpu()
    calculator = on_gpu(Breaks(gpu, linear))
    with pytest.raises(EvaluationError, match=r"with 210 atoms, their positions moved: .*not finite: atom 0"):
        speed.speed(calculator, CASE, clock=gpu.clock)
    assert gc.isenabled()
    assert measure_case(calculator, CASE).problem.state == "error"


def test_too_few_sizes_give_no_cost_model():
    result, _ = timed(case=with_protocol(repeats=((2, 2, 1), (5, 4, 1))))
    problem = result.values["nanosecond_10000"].problem
    assert problem.reason == "no cost model: 2 sizes, at least 4 are needed"
    assert problem.by_nature


# What may not be timed


def test_a_machine_that_is_shared_is_not_timed():
    result, model = timed(shared="shared machine: 2 workers (-n 2)")
    assert model.calls == 0
    problems = {value.problem.reason for value in result.values.values()}
    assert problems == {"shared machine: 2 workers (-n 2)"}
    assert set(result.values) == set(CASE.protocol.units(CASE.frames))


def test_a_path_that_nobody_states_is_not_timed():
    calculator = load_calculator("ase:LennardJones")
    identity = calculator.identity.model_copy(update={"device": NOT_STATED})
    result = speed.speed(dataclasses.replace(calculator, identity=identity), CASE)
    assert result.values["latency_20"].value is None
    assert "device" in result.values["latency_20"].problem.reason


def test_a_device_that_nobody_can_wait_for_is_not_timed():
    gpu = FakeGpu()
    result = speed.speed(on_gpu(OnGpu(gpu, linear), device=HOST), CASE, clock=gpu.clock)
    for value in result.values.values():
        assert value.problem.reason.startswith("nobody says how to wait for the device cuda:0")
        assert not value.problem.by_nature


# The device and the clock


def verdicts(calculator, clock):
    return {
        row.quantity: row.verdict.state
        for row in card_of(calculator, with_protocol(repeats=((2, 2, 1),)), clock).results
        if row.quantity in ("on_device", "unsynchronised")
    }


def test_a_device_that_works_and_is_waited_for_passes():
    gpu = FakeGpu()
    assert verdicts(on_gpu(OnGpu(gpu, linear)), gpu.clock) == {
        "on_device": State.PASSED,
        "unsynchronised": State.PASSED,
    }
    assert gpu.waits > 100


def test_a_path_that_falls_back_to_the_cpu_in_silence_is_caught():
    gpu, processor = FakeGpu(), FakeGpu()
    found = verdicts(on_gpu(OnGpu(processor, linear), device=gpu.device), processor.clock)
    assert found == {"on_device": State.FAILED, "unsynchronised": State.PASSED}


def test_a_timer_that_forgets_to_synchronise_is_caught():
    gpu = FakeGpu()
    calculator = on_gpu(OnGpu(gpu, linear))
    with mock.patch.object(Device, "now", lambda _, clock: clock()):
        assert verdicts(calculator, gpu.clock) == {"on_device": State.PASSED, "unsynchronised": State.FAILED}
        forgetful = speed.speed(calculator, CASE, clock=gpu.clock)
    assert forgetful.values["latency_500"].value == pytest.approx(1.0)  # the launch; the device still has 7 ms to do
    assert forgetful.values["unsynchronised"].value > 100


def test_on_a_processor_nothing_is_waited_for():
    calculator = load_calculator("ase:LennardJones")
    assert calculator.device is HOST
    values = measure_case(calculator, with_protocol(repeats=((1, 1, 1),), seconds=0.1)).values
    assert values["latency_5"].value > 0
    for name in ("on_device", "unsynchronised"):
        assert values[name].problem.by_nature


def test_a_device_whose_memory_nobody_counts():
    gpu = FakeGpu()
    calculator = on_gpu(OnGpu(gpu, linear), device=Device(gpu.synchronize))
    values = speed.speed(calculator, CASE, clock=gpu.clock).values
    assert values["on_device"].problem.reason == "nobody counts what is allocated on cuda:0"
    assert not values["on_device"].problem.by_nature
    assert values["unsynchronised"].value == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"repeats": [[2, 1, 1], [1, 1, 1]]}, "from small to large"),
        ({"repeats": []}, "at least 1"),
        ({"batches": [8, 4]}, "from small to large"),
        ({"batches": [1]}, "greater than or equal to 2"),
        ({"seconds": 0.0}, "greater than 0"),
    ],
)
def test_protocols_that_make_no_sense(changes, says):
    kept = CASE.protocol.model_dump(mode="json") | changes
    with pytest.raises(ValueError, match=says):
        type(CASE.protocol).model_validate(kept, strict=False)
