"""The time of model calls: on a ladder of sizes, in batches, and by the parts of a call."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.device import HOST
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.calculators.identity import path_not_stated
from mlff_probes.calculators.memory import host_bytes_available, host_peak_bytes, reset_host_peak
from mlff_probes.calculators.stages import Stopwatch
from mlff_probes.core.case import Case
from mlff_probes.core.errors import EvaluationError, OutOfMemoryError
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.progress import Report
from mlff_probes.core.records import Asked, Through, Timing, Value, as_lists
from mlff_probes.core.structures import derived
from mlff_probes.measure.inference.protocols import Speed
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.results import Result, missing, not_supplied
from mlff_probes.methods.analysis.cost import cost_model
from mlff_probes.methods.analysis.statistics import Unresolved, quantile

LEAST_CALLS, MOST_CALLS = 4, 30
"""Timed calls of one size: as many as fit into its `SHARE` of the case's time, within these bounds."""

SHARE, BATCH_SHARE = 0.03, 0.3
"""Parts of the case's time that one size may take beyond its least number of calls, and that batches may take."""

BATCH_CALLS, APART_CALLS = 3, 3
"""Timed calls of a batch, and of energies alone, with forces and with stress."""

STAGED_CALLS = 2
"""Calls of which the parts are timed; a clock read within a call keeps the device from working ahead."""

CALLS_A_SIZE = LEAST_CALLS + STAGED_CALLS + 2
"""Calls that a size takes at least, those to warm up included."""

COLD, WARM = 3, 1
"""Calls in a row that must not have become faster before the clock counts: for a model that was never called (just in
time compilers look at two or three calls before they compile), and for one that is called with another size."""

BARELY_FASTER = 0.95
"""A call that takes more than this part of the fastest before it has not become faster."""

MOST_WARM_UP_CALLS = 20

IDLE_WAIT_S = 50e-6
"""What waiting for a device that has nothing to do may take."""

MOVE_A = 0.01
"""Standard deviation of the displacement between calls, A: enough to defeat ASE's result cache and to
rebuild neighbour lists, too little to change the work."""

SMALL_ATOMS = 128
"""Energies alone, with forces and with stress are compared on the largest size up to this one."""

MEMORY_SHARE = 0.8
"""The part of the host's available memory that the next size may be expected to need."""

DRAWN = 60
"""Points of the cost model's curve."""

ENERGY: Asked = "energy"
FORCES: Asked = "energy and forces"
STRESS: Asked = "energy, forces and stress"
HOUR_S, STEPS_A_NS_FS = 3600.0, 1e6


def speed(
    calculator: Calculator,
    case: Case[Speed],
    conditions: Conditions = QUIET,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Time model calls on repeats of the case's cell.

    Every call sees moved positions; the device has finished before each reading of the clock; the garbage collector
    rests; calls count once they have ceased to become faster.

    - `latency_N` is the median time of an energy-and-forces call on N atoms through ASE, as molecular dynamics makes
      it, ms; its uncertainty is Student's t times sqrt(pi/2) s / sqrt(n), the standard error of a median of normal
      numbers with standard deviation s;
    - `batch_speedup`: how many times faster the largest batch of the smallest size is than as many batches of one;
    - `overhead` (ms), `time_per_atom` (us, at 1,000 atoms), `size_exponent`: the cost model, `analysis.cost`;
      `nanosecond_N`: the hours of a nanosecond of N atoms by that model;
    - `on_device`: the part of the timed calls in which the device that is named allocated memory;
    - `unsynchronised`: how long the device went on after the clock was read, in per cent of the time that was read; the
      median of all timed calls.

    Parameters
    ----------
    conditions
        Of these `shared` says why nothing is timed.
    seed
        Of the displacements.
    clock
        Seconds.
    """
    protocol = case.protocol
    units = protocol.units(case.frames)
    reason = conditions.shared or path_not_stated(calculator.identity) or _nobody_waits(calculator)
    if reason:
        values = {name: not_supplied(unit, reason) for name, unit in units.items()}
        return Result(values, {}, Calls().evaluation())
    timer = Timer(calculator, clock, np.random.default_rng(seed), conditions.report)
    with collector_at_rest():
        values, left_out = _ladder(timer, protocol, case.frames[0])
    ladder = [timing for timing in timer.timings if timing.name.startswith("latency")]
    fitted, arrays, model = _cost(ladder, protocol)
    values |= fitted | _laws(calculator, timer)
    diagnostics = {
        "timestep_fs": protocol.timestep_fs,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "seed": seed,
        "notes": _notes(timer, left_out),
        "cost_model": model,
    }
    arrays["atoms"] = [float(timing.atoms) for timing in ladder]
    ordered = {name: values[name] for name in units}
    return Result(ordered, arrays, timer.calls.evaluation(), diagnostics, tuple(timer.timings))


def _nobody_waits(calculator: Calculator) -> str:
    """Why a clock would run ahead of the device; empty where it would not."""
    name = calculator.identity.device
    waits = name == "cpu" or calculator.device.waits
    return "" if waits else f"nobody says how to wait for the device {name}: its Calculator has no `device`"


def _notes(timer: Timer, left_out: str) -> list[str]:
    notes = [*timer.notes, *([f"larger sizes were left out: {left_out}"] if left_out else [])]
    unsteady = [timing.name for timing in timer.timings if not timing.steady]
    if unsteady:
        notes.append(f"still becoming faster after {MOST_WARM_UP_CALLS} calls: {', '.join(unsteady)}")
    return notes


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """No garbage collection within, and afterwards as before."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass
class Timer:
    """Times calls of one calculator, and keeps what it timed.

    Attributes
    ----------
    notes
        What is to be said beside the numbers.
    spent
        Seconds that all calls would have taken as fast as they were timed: a compilation on the way costs nothing.
    after
        For each timed call, how long the device still worked after the clock was read, as a part of what it said.
    worked
        For each timed call, whether the device allocated memory in it.
    """

    calculator: Calculator
    clock: Callable[[], float]
    random: np.random.Generator
    report: Report
    calls: Calls = field(default_factory=Calls)
    timings: list[Timing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    spent: float = 0.0
    after: list[float] = field(default_factory=list)
    worked: list[bool] = field(default_factory=list)

    def time(
        self,
        name: str,
        frames: Sequence[Atoms],
        *,
        what: Asked = FORCES,
        through: Through = "ase",
        seconds: float = 0.0,
        least: int = LEAST_CALLS,
        staged: bool = False,
    ) -> Timing:
        """Time `least` calls on `frames`, and more, up to `MOST_CALLS`, until `seconds` are over.

        `staged`: also their parts; of a size that was timed before, so that one call is enough to warm up.
        """
        device = self.calculator.device
        watch = Stopwatch(self.clock, device.synchronize)
        reset_host_peak()
        device.reset_peak()
        warm_up, steady = self._warm_up(name, frames, what, through, patience=0 if staged else None)
        found: list[float] = []
        begun = self.clock()
        with watch.looking() if staged else nullcontext():
            while len(found) < least or (len(found) < MOST_CALLS and self.clock() - begun < seconds):
                self.report(f"{name}, call {len(found) + 1}")
                found.append(self._call(frames, what, through))
        timing = Timing(
            name=name,
            what=what,
            through=through,
            structures=len(frames),
            atoms=sum(map(len, frames)),
            seconds=tuple(found),
            warm_up_calls=warm_up,
            steady=steady,
            stages={stage: total / len(found) for stage, total in watch.seconds.items()},
            host_peak_bytes=host_peak_bytes(),
            device_peak_bytes=device.peak_bytes() if device.peak_bytes else None,
        )
        self.timings.append(timing)
        self.spent += (warm_up + len(found)) * float(np.median(found))
        return timing

    def too_large(self, atoms: int, seconds: float) -> str:
        """Why so many atoms are not begun, with `seconds` left, going by the last timing; empty where they are."""
        if not self.timings:
            return ""
        last, smallest = self.timings[-1], self.timings[0]
        more = atoms / last.atoms
        takes, left = CALLS_A_SIZE * more * float(np.median(last.seconds)), max(seconds, 0.0)
        if takes > left:
            return f"{atoms} atoms would take some {takes:.1f} s, and {left:.1f} s are left of the time of the case"
        needs = more * max(last.host_peak_bytes - smallest.host_peak_bytes, 0)
        if needs > MEMORY_SHARE * host_bytes_available():
            return f"{atoms} atoms would need some {needs / 2**30:.1f} GiB of memory"
        return ""

    def _warm_up(
        self, name: str, frames: Sequence[Atoms], what: Asked, through: Through, *, patience: int | None
    ) -> tuple[int, bool]:
        """How many calls were made until they ceased to become faster, and whether they did."""
        if patience is None:
            patience = WARM if self.timings else COLD
        fastest, since = np.inf, 0
        for call in range(1, MOST_WARM_UP_CALLS + 1):
            self.report(f"{name}, warm-up call {call}")
            elapsed = self._call(frames, what, through, counted=False)
            since = since + 1 if elapsed > BARELY_FASTER * fastest else 0
            fastest = min(fastest, elapsed)
            if since >= patience:
                return call, True
        return MOST_WARM_UP_CALLS, False

    def _call(self, frames: Sequence[Atoms], what: Asked, through: Through, *, counted: bool = True) -> float:
        """Seconds of one call on moved frames."""
        device = self.calculator.device
        model = replace(self.calculator, batch=None) if through == "ase" else self.calculator
        moved = [self._moved(frame) for frame in frames]
        allocated = device.allocated_bytes() if device.allocated_bytes else 0
        start = device.now(self.clock)
        self.calls.add(evaluate(model, moved, forces=what != ENERGY, stress=what == STRESS))
        end = device.now(self.clock)
        device.synchronize()
        after = self.clock()
        if counted:
            self.after.append(max(after - end - IDLE_WAIT_S, 0.0) / (end - start))
            self.worked.append(bool(device.allocated_bytes and device.allocated_bytes() > allocated))
        return end - start

    def _moved(self, frame: Atoms) -> Atoms:
        off = self.random.normal(scale=MOVE_A, size=frame.positions.shape)
        return derived(frame, positions=frame.positions + off)


def latency_value(timing: Timing) -> Value:
    """Median and half its 95 % interval, ms."""
    calls = np.array(timing.seconds) * 1e3
    error = np.sqrt(np.pi / 2) * calls.std(ddof=1) / np.sqrt(len(calls))
    uncertainty = float(quantile(len(calls) - 1) * error)
    return Value(value=float(np.median(calls)), unit="ms", uncertainty=uncertainty)


def _ladder(timer: Timer, protocol: Speed, cell: Atoms) -> tuple[dict[str, Value], str]:
    """`latency_N` for each size, as far as time and memory reach, and why larger sizes were left out."""
    values: dict[str, Value] = {}
    sizes = protocol.sizes(cell)
    apart = max((atoms for atoms in sizes if atoms <= SMALL_ATOMS), default=sizes[0])
    left_out = ""
    for atoms, repeat in zip(sizes, protocol.repeats, strict=True):
        quantity = f"latency_{atoms}"
        left_out = left_out or timer.too_large(atoms, protocol.seconds - timer.spent)
        if left_out:
            values[quantity] = not_supplied("ms", left_out, by_nature=True)
            continue
        try:
            frames = [derived(cell, repeat=repeat)]
            timing = timer.time(f"latency of {atoms} atoms", frames, seconds=SHARE * protocol.seconds)
            values[quantity] = latency_value(timing)
            if atoms == sizes[0]:
                values |= _batches(timer, protocol, frames[0])
            _parts(timer, frames, apart=atoms == apart)
        except OutOfMemoryError as error:
            if not timer.timings:
                raise
            left_out = str(error)
            values.setdefault(quantity, not_supplied("ms", left_out, by_nature=True))
        except EvaluationError as error:
            raise EvaluationError(f"with {atoms} atoms, their positions moved: {error}") from error
    return values, left_out


def _parts(timer: Timer, frames: Sequence[Atoms], *, apart: bool) -> None:
    """The stages of a call where the family tells them apart; and, if `apart`, what forces and stress add."""
    atoms, calculator = len(frames[0]), timer.calculator
    through: Through = "batch" if calculator.batch else "ase"
    if calculator.batch is not None:
        timer.time(f"stages of {atoms} atoms", frames, through="batch", least=STAGED_CALLS, staged=True)
    if not apart:
        return
    for what in (ENERGY, FORCES, STRESS):
        way: Through = "ase" if what == STRESS else through
        if what != STRESS or calculator.supplies("stress"):
            try:
                timer.time(f"{what} of {atoms} atoms", frames, what=what, through=way, least=APART_CALLS)
            except EvaluationError as error:  # a calculator that does not say that it has no stress, say
                timer.notes.append(f"{what} were not timed: {error}")


def _batches(timer: Timer, protocol: Speed, frame: Atoms) -> dict[str, Value]:
    """`batch_speedup`, from batches of the smallest size, within their share of the time."""
    name, found = "batch_speedup", None
    if timer.calculator.batch is None or not protocol.batches:
        why = "the case names no batches" if timer.calculator.batch else "the calculator takes one structure a call"
        return {name: not_supplied("1", why, by_nature=True)}
    single = None
    end = timer.spent + BATCH_SHARE * protocol.seconds
    for structures in (1, *protocol.batches):
        why = timer.too_large(structures * len(frame), end - timer.spent)
        try:
            if why:
                raise OutOfMemoryError(why)
            batch = f"batch of {structures} structures" if single else "batch of one structure"
            many = latency_value(timer.time(batch, [frame] * structures, through="batch", least=BATCH_CALLS))
        except OutOfMemoryError as error:
            return {name: found or not_supplied("1", f"in a batch of {structures}: {error}", by_nature=True)}
        except EvaluationError as error:
            return {name: missing("1", f"in a batch of {structures}: {error}")}
        if single is None:
            single = many
            continue
        found = _ratio(single, many, structures, note=f"{structures} structures of {len(frame)} atoms at once")
    assert found is not None
    return {name: found}


def _ratio(single: Value, many: Value, structures: int, *, note: str) -> Value:
    """How many times faster a batch is than as many single calls."""
    assert single.value
    assert many.value
    factor = structures * single.value / many.value
    relative = np.hypot((single.uncertainty or 0.0) / single.value, (many.uncertainty or 0.0) / many.value)
    return Value(value=factor, unit="1", uncertainty=float(factor * relative), note=note)


def _cost(ladder: Sequence[Timing], protocol: Speed) -> tuple[dict[str, Value], dict[str, list[Any]], dict[str, Any]]:
    """The cost model's quantities, its curve, and its numbers with their intervals."""
    names = {
        "overhead": ("overhead_s", 1e3),
        "time_per_atom": ("slope_s_per_atom", 1e6),
        "size_exponent": ("exponent", 1.0),
        protocol.nanosecond: ("nanosecond_h", 1.0),
    }
    units = protocol.quantities | {protocol.nanosecond: "h"}
    try:
        model = cost_model([timing.atoms for timing in ladder], [timing.seconds for timing in ladder])
    except Unresolved as error:
        why = f"no cost model: {error}"
        return {name: not_supplied(units[name], why, by_nature=True) for name in names}, {}, {}
    hours = STEPS_A_NS_FS / protocol.timestep_fs / HOUR_S
    intervals = {
        name: [found.value, found.low, found.high]
        for name in ("overhead_s", "slope_s_per_atom", "exponent")
        for found in [getattr(model, name)]
    }
    intervals["nanosecond_h"] = [hours * float(time_s) for time_s in model.predict(protocol.extrapolate_to)]
    values = {}
    for name, (key, scale) in names.items():
        value, low, high = (scale * number for number in intervals[key])
        note = f"95 % interval: {low:.4g} to {high:.4g}"
        values[name] = Value(value=value, unit=units[name], uncertainty=(high - low) / 2, note=note)
    drawn = np.geomspace(ladder[0].atoms / 1.5, max(protocol.extrapolate_to, 1.5 * ladder[-1].atoms), DRAWN)
    curve = dict(zip(("fit_s", "fit_low_s", "fit_high_s"), model.predict(drawn), strict=True))
    sizes = {"largest": ladder[-1].atoms, "extrapolate_to": protocol.extrapolate_to}
    return values, as_lists({"fit_atoms": drawn} | curve), intervals | sizes


def _laws(calculator: Calculator, timer: Timer) -> dict[str, Value]:
    """`on_device` and `unsynchronised`."""
    device, name = calculator.device, calculator.identity.device
    if name == "cpu" and device is HOST:
        return {
            "on_device": not_supplied("1", "it computes on the CPU, and says so", by_nature=True),
            "unsynchronised": not_supplied("%", "no clock need wait for a CPU", by_nature=True),
        }
    worked = Value(value=float(np.mean(timer.worked)), unit="1")
    if device.allocated_bytes is None:
        worked = not_supplied("1", f"nobody counts what is allocated on {name}")
    return {"on_device": worked, "unsynchronised": Value(value=100 * float(np.median(timer.after)), unit="%")}
