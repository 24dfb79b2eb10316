"""How fast a model runs, as tables and sentences; a timing is never shown without the path it was made on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mlff_probes.calculators.stages import STAGES
from mlff_probes.core.records import CalculatorIdentity, Measurement, Timing
from mlff_probes.measure.inference.timings import is_batch, is_latency, ns_per_day, shares
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.reports.text import path_line

MIB = 2**20
COLUMNS = (
    "atoms", "structures", "ms", "10 to 90 %", "calls", "us/atom", "steps/s", "ns/day",
    *STAGES, "other", "host MiB", "device MiB",
)  # fmt: skip
"""`ms` is the median of a call, `10 to 90 %` the percentiles of all calls; a step is one structure, once."""


@dataclass(frozen=True)
class SpeedReport:
    """What one measurement says of speed: on which path, a table with the columns `COLUMNS`, and sentences."""

    path: str
    rows: list[list[str]]
    lines: list[str]


def speed_reports(card: Scorecard, identity: CalculatorIdentity) -> list[SpeedReport]:
    """A report for each measurement of the calculator in which something was timed."""
    return [
        _report(measurement, identity)
        for measurement in card.measurements
        if measurement.calculator == identity.label and measurement.timings
    ]


def _report(measurement: Measurement, identity: CalculatorIdentity) -> SpeedReport:
    d = measurement.diagnostics
    packages = ", ".join(f"{name} {version}" for name, version in identity.versions.items())
    path = f"{path_line(identity, d['device'])}, OMP_WAIT_POLICY {d['omp_wait_policy']}; {packages}"
    staged = {timing.atoms: timing for timing in measurement.timings if timing.stages}
    table = [*filter(is_latency, measurement.timings), *filter(is_batch, measurement.timings)]
    rows = [_row(timing, staged.get(timing.atoms), d["timestep_fs"]) for timing in table]
    lines = [line for line in (_extras(measurement), _cost(measurement)) if line]
    return SpeedReport(path, rows, [*lines, *d["notes"]])


def _row(timing: Timing, staged: Timing | None, timestep_fs: float) -> list[str]:
    low, median, high = np.percentile(timing.seconds, (10, 50, 90))
    single = timing.structures == 1
    parts = shares(staged) if staged and single else {}
    device = timing.device_peak_bytes
    return [
        f"{timing.atoms:,}",
        str(timing.structures),
        f"{median * 1e3:.1f}",
        f"{low * 1e3:.1f} to {high * 1e3:.1f}",
        str(len(timing.seconds)),
        f"{median * 1e6 / timing.atoms:.1f}",
        f"{timing.structures / median:.1f}",
        f"{ns_per_day(median, timestep_fs):.3g}" if single else "—",
        *(f"{100 * parts[stage]:.0f} %" if stage in parts else "—" for stage in (*STAGES, "other")),
        f"{timing.host_peak_bytes / MIB:.0f}",
        "—" if device is None else f"{device / MIB:.0f}",
    ]


def three_digits(value: float) -> str:
    """A number with three significant digits, and no exponent."""
    rounded = float(f"{value:.3g}")
    decimals = 2 - math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:,.{min(max(decimals, 0), 4)}f}"


def _extras(measurement: Measurement) -> str:
    """What forces and stress add."""
    found = [t for t in measurement.timings if t.name.startswith(f"{t.what} of")]
    if not found:
        return ""
    parts = [f"{t.what} {np.median(t.seconds) * 1e3:.1f} ms ({t.through})" for t in found]
    return f"a call on {found[0].atoms} atoms: {'; '.join(parts)}"


def _cost(measurement: Measurement) -> str:
    """The cost model in words."""
    d = measurement.diagnostics.get("cost_model")
    if not d:
        return ""

    def interval(name: str, scale: float = 1.0) -> str:
        value, low, high = (scale * x for x in d[name])
        return f"{three_digits(value)} ({three_digits(low)} to {three_digits(high)})"

    return (
        f"cost of a call on N atoms: {interval('overhead_s', 1e3)} ms + {interval('slope_s_per_atom', 1e6)} us x N x "
        f"(N/1000)^(p-1), p = {interval('exponent')}; a nanosecond of {d['extrapolate_to']:,} atoms at "
        f"{measurement.diagnostics['timestep_fs']:g} fs: {interval('nanosecond_h')} h "
        f"({'beyond the sizes timed, ' if d['extrapolate_to'] > d['largest'] else ''}95 % intervals)"
    )
