"""Pictures of speed: time against atoms with the cost model, what batches gain, where a call spends its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_probes.calculators.stages import STAGES
from mlff_probes.core.records import Measurement, Timing
from mlff_probes.core.view import FigureView
from mlff_probes.measure.inference.timings import is_batch, is_latency, shares
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.laws.figure import law_drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

SHADES = {"neighbours": "tab:blue", "copies": "tab:orange", "model": "tab:green", "other": "0.8"}


def _speed(figure: SubFigure, view: FigureView) -> None:
    """Time of a call, time an atom, and for each calculator the parts of a call."""
    from matplotlib.ticker import LogLocator

    drawn = [(m, style) for m, style in view.curves if m.timings]
    staged = [m for m, _ in drawn if any(t.stages for t in m.timings)]
    panels = figure.subplots(1, 2 + len(staged), squeeze=False)[0]
    cost, throughput = panels[:2]
    for measurement, style in drawn:
        arrays, color, marker = measurement.arrays, style["color"], style["marker"]
        single = [t for t in measurement.timings if is_latency(t)]
        _medians(cost, single, 1e3, color=color, marker=marker, label=measurement.calculator)
        if "fit_atoms" in arrays:
            low, high = (np.array(arrays[name]) * 1e3 for name in ("fit_low_s", "fit_high_s"))
            cost.plot(arrays["fit_atoms"], np.array(arrays["fit_s"]) * 1e3, color=color, linewidth=1.0)
            cost.fill_between(arrays["fit_atoms"], low, high, color=color, alpha=0.15, linewidth=0)
        batches = [t for t in measurement.timings if is_batch(t)]
        for timings, filled, label in ((single, color, "one structure"), (batches, "none", "batches")):
            _medians(throughput, timings, 1e6, each=True, color=color, marker=marker, markerfacecolor=filled,
                     label=f"{measurement.calculator}, {label}")  # fmt: skip
    for axes in (cost, throughput):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter("")
        axes.grid(which="major", color="0.92")
        axes.legend(frameon=False, fontsize=8)
    cost.set_yscale("log")
    cost.yaxis.set_major_formatter("{x:,g}")
    cost.yaxis.set_minor_formatter("")
    cost.set_ylabel("time of a call (ms)")
    cost.set_xlabel("atoms (line and band: cost model, 95 %)")
    throughput.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    throughput.set_ylim(bottom=0.0)
    throughput.set_ylabel("time of a call, an atom (us)")
    throughput.set_xlabel("atoms in a call")
    for axes, measurement in zip(panels[2:], staged, strict=True):
        _parts(axes, measurement)


def _medians(axes: Axes, timings: list[Timing], scale: float, *, each: bool = False, **style: Any) -> None:
    """Medians with bars from the 10th to the 90th percentile; of an atom if `each`."""
    if not timings:
        return
    low, middle, high = np.array(
        [np.percentile(t.seconds, (10, 50, 90)) * scale / (t.atoms if each else 1) for t in timings]
    ).T
    axes.errorbar([t.atoms for t in timings], middle, (middle - low, high - middle), linestyle="none", ms=5, **style)


def _parts(axes: Axes, measurement: Measurement) -> None:
    """Stacked bars of what a call on each size spends its time with."""
    staged = [t for t in measurement.timings if t.stages]
    below = np.zeros(len(staged))
    for name in (*STAGES, "other"):
        height = np.array([100 * shares(t).get(name, 0.0) for t in staged])
        axes.bar(range(len(staged)), height, bottom=below, color=SHADES[name], label=name)
        below += height
    axes.set_xticks(range(len(staged)), [f"{t.atoms:,}" for t in staged])
    axes.set_xlabel("atoms")
    axes.set_ylabel("part of a call (%)")
    axes.set_ylim(0, 100)
    axes.set_title(measurement.calculator, fontsize=9, pad=20)
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


SPEED = Drawing(_speed, lambda calculators: (4.2 * (2 + calculators), 4.4))
AGREEMENT = law_drawing(6.4)
