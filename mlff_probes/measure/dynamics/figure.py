"""Pictures of simulations: temperature and pressure over time, structure, displacements, vibrations."""

from __future__ import annotations

from itertools import cycle
from textwrap import fill
from typing import TYPE_CHECKING, Any

from mlff_probes.core.records import Measurement
from mlff_probes.core.view import FigureView
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.styles import REFERENCE_COLOR, legend_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

Drawn = list[tuple[Measurement, dict[str, Any]]]

MARKS_APART, GOLDEN = 0.25, 0.382
"""How far apart the markers of a curve are, as a part of the diagonal of its panel, and how far, as a part of that, the
first marker of a calculator is from that of the one before it."""

SPARSER = 8.0
"""How much farther apart along the path of a curve that goes up and down all the time."""

LINES = ("-", "--", ":", "-.")
"""Line styles, one for each element; the colour says which calculator it is."""

LETTERS = 52
"""Letters of small print in a line as wide as a panel."""

MARGIN_A = 0.5
"""How far before the closest pair g(r) is drawn, A."""

WEIGHT = 0.995
"""The part of a spectrum that is drawn, from zero on: beyond it there is nothing to see."""

SHELL_STEP = 1.15
"""How far apart the g(r) of different pairs are drawn, over the highest of them."""


def _molecular_dynamics(figure: SubFigure, view: FigureView) -> None:
    """Six panels, every calculator in each."""
    drawn = [(m, _line(index, style)) for index, (m, style) in enumerate(view.curves)]
    panels = figure.subplots(2, 3)
    (temperature, structure, displacement), (pressure, autocorrelation, spectrum) = panels
    _temperature(temperature, drawn, view)
    _pressure(pressure, drawn)
    _structure(structure, drawn, view)
    _displacement(displacement, drawn)
    _autocorrelation(autocorrelation, drawn)
    _spectrum(spectrum, drawn, view)
    handles, labels = temperature.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=legend_columns(labels), loc="outside lower center")


def _line(index: int, style: dict[str, Any]) -> dict[str, Any]:
    """Colour and marker of a calculator, a marker now and then, and none where that of another is."""
    return {name: style[name] for name in ("color", "marker", "markerfacecolor")} | {
        "markersize": 4.0, "markeredgewidth": 0.8, "markevery": (MARKS_APART * (GOLDEN * index % 1), MARKS_APART),
    }  # fmt: skip


def _sparse(style: dict[str, Any]) -> dict[str, Any]:
    """The line of a calculator for a history that goes up and down all the time: fewer markers."""
    return style | {"markevery": tuple(SPARSER * part for part in style["markevery"])}


def _temperature(axes: Axes, drawn: Drawn, view: FigureView) -> None:
    for measurement, style in drawn:
        arrays = measurement.arrays
        end = measurement.diagnostics.get("end")
        label = f"{measurement.calculator}: {end}" if end else measurement.calculator
        axes.plot(arrays.get("time_ps", []), arrays.get("temperature", []), linewidth=0.8, label=label,
                  **_sparse(style))  # fmt: skip
        if end and arrays.get("time_ps"):
            axes.plot(arrays["time_ps"][-1], arrays["temperature"][-1], "x", ms=9, mew=2, color=style["color"])
    axes.axhline(view.protocol["temperature"], color=REFERENCE_COLOR, linewidth=0.8)
    axes.axvline(0.0, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xlabel("time (ps; production from 0 on)")
    axes.set_ylabel("temperature (K)")
    outside = [(m.arrays, style) for m, style in drawn if "q_ratio" in m.arrays]
    if outside:
        beside = axes.twinx()
        for arrays, style in outside:
            beside.plot(arrays["q_time_ps"], arrays["q_ratio"], ":", linewidth=1.2, color=style["color"])
        beside.axhline(1.0, color="0.6", linestyle=":", linewidth=0.8)
        beside.set_ylim(bottom=0.0)
        beside.set_ylabel("Q / limit, farthest atom (dotted)")


def _pressure(axes: Axes, drawn: Drawn) -> None:
    some = any("pressure" in m.arrays for m, _ in drawn)
    for measurement, style in drawn:
        arrays, mean = measurement.arrays, measurement.values.get("pressure")
        if "pressure" in arrays:
            axes.plot(arrays["pressure_time_ps"], arrays["pressure"], linewidth=0.8, **style | {"markevery": 1})
        if mean and mean.value is not None and mean.uncertainty is not None:
            axes.axhspan(mean.value - mean.uncertainty, mean.value + mean.uncertainty, alpha=0.15, lw=0,
                         color=style["color"])  # fmt: skip
    if not some:  # where no stress is to be had, or none was asked for: the energy
        for measurement, style in drawn:
            arrays = measurement.arrays
            energies = arrays.get("potential_energy", [])
            axes.plot(arrays.get("time_ps", [])[: len(energies)], energies, linewidth=0.8, **_sparse(style))
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("pressure (GPa; band: mean, 95 %)" if some else "potential energy, first = 0 (eV/atom)")


def _structure(axes: Axes, drawn: Drawn, view: FigureView) -> None:
    """One g(r) above the other, all atoms at the bottom; where first peaks are expected, a line."""
    arrays = [(m.arrays, style) for m, style in drawn]
    if view.reference:
        arrays.insert(0, (view.reference, {"color": REFERENCE_COLOR}))
    names = dict.fromkeys(n.removesuffix("_r") for found, _ in arrays for n in found if _is_axis(n, "rdf_", "_r"))
    ordered = sorted(names, key=lambda name: (name != "rdf_all", name))
    height = 0.0
    for name in ordered:
        peaks = [max(found[name]) for found, _ in arrays if name in found]
        for found, style in arrays:
            if name in found:
                axes.plot(found[f"{name}_r"], [height + g for g in found[name]], linewidth=1.0, **style)
        pair = name.removeprefix("rdf_")
        axes.annotate(
            pair.replace("_", "–"), (0.02, height), xycoords=("axes fraction", "data"), fontsize=8, va="bottom"
        )
        for row in view.rows:
            if row.quantity == f"first_peak_{pair}" and row.expectation:
                axes.plot(
                    [row.expectation.value] * 2, [height, height + max(peaks)], color=REFERENCE_COLOR, linewidth=1.0
                )
        height += SHELL_STEP * max(peaks)
    axes.set_xlim(left=_first(arrays, ordered))
    axes.set_xlabel("distance (Å; lines: expected first peaks)")
    axes.set_ylabel("g(r), one above the other")


def _first(arrays: list[tuple[dict[str, list[Any]], dict[str, Any]]], names: list[str]) -> float:
    """Where the picture of g(r) begins: a little before the closest pair."""
    closest = [
        next((r for r, g in zip(found[f"{name}_r"], found[name], strict=True) if g > 0), 0.0)
        for found, _ in arrays
        for name in names
        if name in found
    ]
    return max(min(closest, default=0.0) - MARGIN_A, 0.0)


def _is_axis(name: str, prefix: str, suffix: str) -> bool:
    return name.startswith(prefix) and name.endswith(suffix)


def _displacement(axes: Axes, drawn: Drawn) -> None:
    """Mean squared displacements with their 95 % band, and the line fitted where something diffuses."""
    kinds: dict[str, str] = {}
    for measurement, style in drawn:
        arrays = measurement.arrays
        elements = [name.split("_")[1] for name in arrays if _is_axis(name, "msd_", "_uncertainty")]
        for element, line in zip(elements, cycle(LINES), strict=False):
            lag, msd = arrays[f"msd_{element}_lag_ps"], arrays[f"msd_{element}"]
            off = arrays[f"msd_{element}_uncertainty"]
            axes.plot(lag, msd, line, linewidth=1.0, **style)
            kinds.setdefault(element, line)
            low, high = zip(*((m - u, m + u) for m, u in zip(msd, off, strict=True)), strict=True)
            axes.fill_between(lag, low, high, alpha=0.15, linewidth=0, color=style["color"])
            if fit := arrays.get(f"msd_{element}_fit"):
                axes.plot(arrays[f"msd_{element}_fit_lag_ps"], fit, color=REFERENCE_COLOR, linewidth=0.8)
    axes.set_xlabel("lag (ps)")
    axes.set_ylabel("mean squared displacement (Å²)")
    _name_lines(axes, kinds)


def _autocorrelation(axes: Axes, drawn: Drawn) -> None:
    for measurement, style in drawn:
        axes.plot(measurement.arrays.get("vacf_lag_ps", []), measurement.arrays.get("vacf", []), linewidth=1.0, **style)
    axes.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xlabel("lag (ps)")
    axes.set_ylabel("velocity autocorrelation")


def _spectrum(axes: Axes, drawn: Drawn, view: FigureView) -> None:
    arrays = [(m.arrays, style) for m, style in drawn]
    if view.reference:
        arrays.insert(0, (view.reference, {"color": REFERENCE_COLOR}))
    names = {
        n.removesuffix("_frequency"): "" for found, _ in arrays for n in found if _is_axis(n, "vdos_", "_frequency")
    }
    lines = dict(zip(sorted(names, key=lambda n: (n != "vdos_all", n)), cycle(LINES), strict=False))
    for name, line in lines.items():
        for found, style in arrays:
            if name in found:
                axes.plot(found[f"{name}_frequency"], found[name], line, linewidth=1.0, **style)
    ends = [_end(found[f"{name}_frequency"], found[name]) for found, _ in arrays for name in names if name in found]
    if ends:
        axes.set_xlim(0.0, max(ends))
    reasons: dict[str, list[str]] = {}
    for measurement, _ in drawn:
        if reason := measurement.diagnostics.get("spectrum"):
            reasons.setdefault(reason, []).append(measurement.calculator)
    said = "\n\n".join(fill(f"{', '.join(labels)}: {reason}", LETTERS) for reason, labels in reasons.items())
    axes.text(0.05, 0.95, said, transform=axes.transAxes, va="top", fontsize=8)
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel("vibrational density of states (1/THz)")
    _name_lines(axes, {n.removeprefix("vdos_").replace("all", "all atoms"): line for n, line in lines.items()})


def _name_lines(axes: Axes, names: dict[str, str]) -> None:
    """A legend that says what is drawn in which kind of line, by whatever calculator."""
    handles = [axes.plot([], [], line, color="0.3", linewidth=1.0, label=name)[0] for name, line in names.items()]
    if handles:
        axes.legend(handles=handles, frameon=False, fontsize=8)


def _end(frequency: list[float], density: list[float]) -> float:
    """The frequency below which nearly all of a spectrum lies."""
    total, seen = sum(density), 0.0
    for f, weight in zip(frequency, density, strict=True):
        seen += weight
        if seen >= WEIGHT * total:
            return f
    return frequency[-1]


SIMULATION = Drawing(_molecular_dynamics, lambda _: (13.2, 7.2), needs_a_model=True)
