"""The timings of a scorecard as the file that pytest-benchmark writes with ``--benchmark-json``.

Its own tools read it::

    pytest-benchmark compare before.json after.json --group-by=fullname
    pytest-benchmark compare before.json after.json --histogram=speed
"""

from __future__ import annotations

import json
import platform
import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlff_probes.calculators.identity import cpu_count, cpu_name
from mlff_probes.core.records import Measurement, Timing
from mlff_probes.scorecard.files import check_path
from mlff_probes.scorecard.model import Scorecard

OPTION = "--probe-benchmark-json"

FORMAT_VERSION = "5.3.1"
"""Of pytest-benchmark, whose file this is."""

PATH = {
    "family", "version", "sha256", "dtype", "device", "device_name", "threads", "batched", "compile_mode", "kernels",
    "tf32", "cuda", "driver", "options", "versions",
}  # fmt: skip
"""What of an identity says which path the numbers took: no time, and no folder of whoever ran it."""

OPTIONS = {
    "disable_gc": True,
    "timer": "perf_counter",
    "min_rounds": None,
    "max_time": None,
    "min_time": None,
    "precision": None,
    "confidence": None,
}
"""How calls are timed; None where pytest-benchmark has a rule that has no counterpart here."""

TIMESTEP_FS = 1.0
"""Of simulated time, where the case states none."""

FENCE = 1.5
"""Interquartile ranges beyond the quartiles from which on a call is an outlier (Tukey)."""


def write(card: Scorecard, path: Path) -> list[Path]:
    """Write the timings of `card`; the file written.

    Raises
    ------
    InputError
        If the suffix is not `.json`, or the file cannot be written.
    """
    check(path)
    path.write_text(json.dumps(benchmark_json(card), indent=1) + "\n", encoding="utf-8")
    return [path]


def check(path: Path) -> None:
    """Refuse a path that cannot be written, before anything is measured; an `InputError`."""
    check_path(path, given=OPTION, known=(".json",))


def benchmark_json(card: Scorecard) -> dict[str, Any]:
    """The timings of `card` in the format of pytest-benchmark 5.3, times in s.

    A benchmark is one timing: its group the case, its rounds the timed calls. Its name tells the case, the calculator,
    what was asked and of how many atoms, so that it is the same in every run; ``extra_info`` holds the identity of the
    path and what only a force field has. `steps_per_s` and `ns_per_day` are of all structures of a call together. A
    timing without calls, or of a calculator without identity, is left out.

    Node, processor and Python are those of the process that writes.
    """
    paths = {identity.label: identity.model_dump(mode="json", include=PATH) for identity in card.calculators}
    timesteps = {case.id: case.protocol.get("timestep_fs", TIMESTEP_FS) for case in card.cases}
    return {
        "machine_info": _machine_info(paths),
        "commit_info": {
            "id": "unversioned",
            "time": None,
            "author_time": None,
            "dirty": False,
            "project": "mlff-probes",
            "branch": "(unknown)",
        },
        "benchmarks": [
            benchmark
            for measurement in card.measurements
            if measurement.calculator in paths
            for benchmark in _benchmarks(
                measurement, paths[measurement.calculator], timesteps.get(measurement.case, TIMESTEP_FS)
            )
        ],
        "datetime": card.created,
        "version": FORMAT_VERSION,
    }


def statistics_of(seconds: Sequence[float]) -> dict[str, Any]:
    """What pytest-benchmark says of timed calls, s; at least one call.

    The quartiles of an odd number of calls are the means of those with and without the median in both halves
    ("method 3"), `stddev` is that of a sample (n - 1), 0 for one call. `ld15iqr` and `hd15iqr` are the first and the
    last call within 1.5 interquartile ranges of the quartiles; `outliers` counts calls beyond one standard deviation
    of the mean, and beyond these fences.
    """
    data, rounds = sorted(seconds), len(seconds)
    mean, total = statistics.mean(seconds), sum(seconds)
    deviation = statistics.stdev(seconds) if rounds > 1 else 0
    lower, upper = _quartile(data), _quartile(data[::-1])
    low, high = lower - FENCE * (upper - lower), upper + FENCE * (upper - lower)
    far = sum(not mean - deviation <= x <= mean + deviation for x in seconds)
    beyond = sum(not low <= x <= high for x in seconds)
    return {
        "min": data[0],
        "max": data[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": rounds,
        "median": statistics.median(data),
        "iqr": upper - lower,
        "q1": lower,
        "q3": upper,
        "iqr_outliers": beyond,
        "stddev_outliers": far,
        "outliers": f"{far};{beyond}",
        "ld15iqr": data[bisect_left(data, low)],
        "hd15iqr": data[bisect_right(data, high) - 1],
        "ops": rounds / total if total else 0,
        "total": total,
        "data": list(seconds),
        "iterations": 1,
    }


def _quartile(data: Sequence[float]) -> float:
    """The quartile nearer to the beginning of data in order."""
    half, quarter = len(data) // 2, len(data) // 4
    if len(data) == 1:
        return data[0]
    if len(data) % 2 == 0:
        return statistics.median(data[:half])
    if len(data) % 4 == 1:
        return 0.25 * data[quarter - 1] + 0.75 * data[quarter]
    return 0.75 * data[quarter] + 0.25 * data[quarter + 1]


def _machine_info(paths: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "node": platform.node(),
        "processor": platform.processor(),
        "machine": platform.machine(),
        "python_compiler": platform.python_compiler(),
        "python_implementation": platform.python_implementation(),
        "python_implementation_version": platform.python_version(),
        "python_version": platform.python_version(),
        "python_build": list(platform.python_build()),
        "release": platform.release(),
        "system": platform.system(),
        "cpu": {"brand_raw": cpu_name(), "count": cpu_count(), "arch_string_raw": platform.machine()},
        "calculators": paths,
    }


def _benchmarks(measurement: Measurement, path: dict[str, Any], timestep_fs: float) -> list[dict[str, Any]]:
    timed = [timing for timing in measurement.timings if timing.seconds]
    texts = [_parameters(measurement.calculator, timing) for timing in timed]
    often = Counter(texts)
    return [
        _benchmark(measurement, timing, f"{text}-{timing.name}" if often[text] > 1 else text, path, timestep_fs)
        for text, timing in zip(texts, timed, strict=True)
    ]


def _parameters(label: str, timing: Timing) -> str:
    """What distinguishes a timing from the others of its case, as pytest writes the parameters of a test."""
    parts = [label, timing.what, f"{timing.atoms} atoms"]
    if timing.through == "batch":
        parts.append(f"batch of {timing.structures}")
    return "-".join(parts)


def _benchmark(
    measurement: Measurement, timing: Timing, parameters: str, path: dict[str, Any], timestep_fs: float
) -> dict[str, Any]:
    name = f"{measurement.case}[{parameters}]"
    median = statistics.median(timing.seconds)
    steps = timing.structures / median if median else None
    return {
        "group": measurement.case,
        "name": name,
        "fullname": name,
        "params": {
            "calculator": measurement.calculator,
            "what": timing.what,
            "through": timing.through,
            "structures": timing.structures,
            "atoms": timing.atoms,
        },
        "param": parameters,
        "extra_info": {
            "timing": timing.name,
            "path": path,
            "atoms": timing.atoms,
            "structures": timing.structures,
            "us_per_atom": median * 1e6 / timing.atoms,
            "steps_per_s": steps,
            "ns_per_day": 86400 * steps * timestep_fs * 1e-6 if steps is not None else None,
            "timestep_fs": timestep_fs,
            "warm_up_calls": timing.warm_up_calls,
            "steady": timing.steady,
            "stages_s": timing.stages,
            "host_peak_bytes": timing.host_peak_bytes,
            "device_peak_bytes": timing.device_peak_bytes,
        },
        "options": {**OPTIONS, "warmup": timing.warm_up_calls > 0},
        "stats": statistics_of(timing.seconds),
    }
