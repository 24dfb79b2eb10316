"""Pictures of a representation: how far frames lie outside, below their energies; what fine-tuning moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlff_probes.core.units import number
from mlff_probes.core.view import Curve, FigureView
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.styles import COLORS, MARKERS, legend_room

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import SubFigure

T2_COLOR = "0.55"


def _extrapolation(figure: SubFigure, view: FigureView) -> None:
    """For each calculator a row: energies with Q and T^2 below them, frame by frame, and force errors against Q."""
    rows = figure.subplots(
        2 * len(view.curves), 2, squeeze=False, width_ratios=(2, 1), height_ratios=(1, 1) * len(view.curves)
    )
    for n, curve in enumerate(view.curves):
        top, bottom = rows[2 * n, 0], rows[2 * n + 1, 0]
        top.sharex(bottom)
        _profile(top, bottom, curve)
        for axes in rows[2 * n : 2 * n + 2, 1]:
            axes.remove()
        grid = rows[2 * n, 1].get_gridspec()
        _errors(figure.add_subplot(grid[2 * n : 2 * n + 2, 1]), curve)


def _profile(top: Axes, bottom: Axes, curve: Curve) -> None:
    """Energies of the frames of each path, and their Q and T^2 over the limits."""
    arrays = curve.measurement.arrays
    origins, paths = arrays["origin"], arrays["path"]
    for index, origin in enumerate(dict.fromkeys(origins)):
        mine = [i for i, each in enumerate(origins) if each == origin]
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        for path in dict.fromkeys(paths[i] for i in mine):
            frames = [i for i in mine if paths[i] == path]
            top.plot(
                frames, [arrays["energy"][i] for i in frames], color=color, marker=marker, markersize=4, linewidth=1
            )
        bottom.plot(mine, [arrays["t2_ratio"][i] for i in mine], marker, color=T2_COLOR, markersize=3)
        bottom.plot(mine, [arrays["q_ratio"][i] for i in mine], marker, color=color, markersize=5, label=origin)
    bottom.plot([], [], "o", color=T2_COLOR, markersize=3, label="T²")
    bottom.axhline(1.0, color="black", linewidth=0.8)
    bottom.set_yscale("log")
    _plain(bottom.yaxis)
    bottom.set_ylabel("Q, T² / limit")
    bottom.set_xlabel("frame, path after path")
    bottom.legend(frameon=False, fontsize=8, ncols=4)
    top.set_ylabel("energy, first of\nthe path = 0 (eV)")
    top.tick_params(labelbottom=False)
    said = curve.measurement.diagnostics.get("descriptors", "")
    top.set_title(f"{curve.measurement.calculator}: {said}", fontsize=9)


def _errors(axes: Axes, curve: Curve) -> None:
    """Force error of each labelled frame against its Q."""
    arrays = curve.measurement.arrays
    axes.set_xlabel("Q / limit")
    axes.set_ylabel("force RMSE of the frame (eV/Å)")
    axes.axvline(1.0, color="black", linewidth=0.8)
    origins = arrays.get("error_origin", [])
    for index, origin in enumerate(dict.fromkeys(arrays["origin"])):
        mine = [i for i, each in enumerate(origins) if each == origin]
        axes.plot([arrays["error_q_ratio"][i] for i in mine], [arrays["force_rmse"][i] for i in mine],
                  MARKERS[index % len(MARKERS)], color=COLORS[index % len(COLORS)], markersize=4)  # fmt: skip
    axes.set_xscale("log")
    _plain(axes.xaxis)
    found = curve.measurement.values.get("force_error_correlation")
    if found is not None and found.value is not None:
        spread = "" if found.uncertainty is None else f" ± {number(found.uncertainty, found.unit)}"
        axes.set_title(f"rank correlation {number(found.value, found.unit)}{spread}", fontsize=9)


def _plain(axis: Axis) -> None:
    """Numbers of a logarithmic axis without powers, which would be formulas."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


MOST_CHANGED = 12
"""Frames that are named in the picture of what fine-tuning moved."""


def _forgetting(figure: SubFigure, view: FigureView) -> None:
    """For each calculator a row: CKA and drift of each element, layer by layer, and the frames that changed most."""
    rows = figure.subplots(len(view.curves), 3, squeeze=False)
    for (alike, drifted, forces), curve in zip(rows, view.curves, strict=True):
        arrays, said = curve.measurement.arrays, curve.measurement.diagnostics
        elements = list(dict.fromkeys(arrays.get("element", [])))
        for index, layer in enumerate(dict.fromkeys(arrays.get("layer", []))):
            mine = [i for i, each in enumerate(arrays["layer"]) if each == layer]
            places = [elements.index(arrays["element"][i]) for i in mine]
            style = {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)], "label": layer}
            cka, half = ([arrays[name][i] for i in mine] for name in ("cka", "cka_half_width"))
            alike.errorbar(places, cka, half, linestyle="", capsize=2, **style)
            drifted.plot(places, [arrays["drift"][i] for i in mine], linestyle="", **style)
        for axes, name in ((alike, "linear CKA"), (drifted, "drift, in the\nfoundation's spread")):
            axes.set_xticks(range(len(elements)), elements)
            axes.set_ylabel(name)
        alike.set_ylim(top=1.05)
        drifted.set_ylim(bottom=0)
        if elements:
            alike.legend(frameon=False, fontsize=8)
        alike.set_title(f"{curve.measurement.calculator} against {said['foundation']}", fontsize=9, loc="left")
        _most_changed(forces, arrays)


def _most_changed(axes: Axes, arrays: dict[str, list[Any]]) -> None:
    """The frames whose forces changed most, from above."""
    order = sorted(range(len(arrays.get("frame", []))), key=lambda i: -arrays["force_change"][i])[:MOST_CHANGED]
    axes.barh(range(len(order)), [arrays["force_change"][i] for i in order], color=T2_COLOR)
    axes.set_yticks(range(len(order)), [arrays["frame"][i] for i in order], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("RMS change of forces (meV/Å)")


FORGETTING = Drawing(
    _forgetting, lambda calculators: (11.0, 3.4 * calculators + legend_room(calculators)), needs_a_model=True
)
"""What fine-tuning moved."""

EXTRAPOLATION = Drawing(
    _extrapolation, lambda calculators: (9.6, 4.6 * calculators + legend_room(calculators)), needs_a_model=True
)
"""Frames of some paths against a training set."""
