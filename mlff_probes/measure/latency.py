"""The time of one force call."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mlff_probes.calculators.base import Calculator
from mlff_probes.errors import EvaluationError
from mlff_probes.evaluation import Evaluation, evaluate
from mlff_probes.measure.results import Result
from mlff_probes.memory import host_peak_bytes, reset_host_peak
from mlff_probes.protocols import Latency
from mlff_probes.records import Case, Value

WARM_UP_CALLS = 3
"""Calls before the clock runs: the first ones pay for lazy initialisation and memory pools."""

TIMED_CALLS = 15
"""Timed calls: enough for quartiles, few enough for a model that takes a second a call."""

MOVE_A = 0.01
"""Standard deviation of the displacement between calls, A: enough to defeat ASE's result cache and to
rebuild neighbour lists, too little to change the work."""

MIB = 2**20


def force_call_latency(
    calculator: Calculator, case: Case, *, seed: int = 0, clock: Callable[[], float] = time.perf_counter
) -> Result:
    """Latency of one energy-and-forces call through ASE, as molecular dynamics makes it.

    Every call sees moved positions; the device is synchronised before each reading of the clock; the
    garbage collector rests. `latency` is the median in ms. Also given: quartiles, us per atom, steps/s,
    ns/day at the case's timestep, and peak memory.
    """
    protocol = case.protocol
    assert isinstance(protocol, Latency)
    frame = case.frames[0]
    rng = np.random.default_rng(seed)
    loop = replace(calculator, batch=None)  # molecular dynamics calls ASE, one frame at a time
    reset_host_peak()
    seconds: list[float] = []
    calls, spent = 0, 0.0
    collecting = gc.isenabled()
    gc.disable()
    try:
        while len(seconds) < TIMED_CALLS:
            moved = frame.copy()
            moved.positions += rng.normal(scale=MOVE_A, size=moved.positions.shape)
            calculator.device.synchronize()
            start = clock()
            evaluate(loop, [moved])
            elapsed = clock() - start
            calls, spent = calls + 1, spent + elapsed
            if calls > WARM_UP_CALLS:
                seconds.append(elapsed)
    except EvaluationError as error:
        raise EvaluationError(f"in call {calls + 1} with moved positions: {error}") from error
    finally:
        if collecting:
            gc.enable()
    low, median, high = (float(q) for q in np.percentile(seconds, (25, 50, 75)))
    diagnostics = {
        "n_atoms": len(frame),
        "timed_calls": len(seconds),
        "warm_up_calls": WARM_UP_CALLS,
        "latency_p25_ms": low * 1e3,
        "latency_p75_ms": high * 1e3,
        "us_per_atom": median * 1e6 / len(frame),
        "steps_per_s": 1 / median,
        "timestep_fs": protocol.timestep_fs,
        "ns_per_day": 86400 / median * protocol.timestep_fs * 1e-6,
        "peak_memory_mib": host_peak_bytes() / MIB,
        "peak_memory_of": "process",
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "seed": seed,
    }
    evaluation = Evaluation(energies=np.empty(0), forces=None, calls=calls, batches=calls, model_s=spent)
    value = Value(value=median * 1e3, unit="ms")
    return Result({"latency": value}, {"seconds": seconds}, evaluation, diagnostics)
