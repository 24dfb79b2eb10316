"""Pictures of a representation: how far frames lie outside, below their energies; what fine-tuning moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_probes.core.units import number
from mlff_probes.core.view import Curve, FigureView
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.representation.likeness import embedding, matrix
from mlff_probes.measure.representation.maps import Map
from mlff_probes.measure.styles import COLORS, HOVER, MARKERS, legend_room
from mlff_probes.methods.analysis.similarity import Similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import SubFigure

T2_COLOR = "0.55"

ROW_IN, MAPS_IN = 4.6, 3.4
"""Heights of what is drawn of one calculator, and of what is drawn of all together, inches."""

MOST_POINTED_AT = 200
"""Frames whose points say what they are; of more a page would be slow."""

MIDDLE = 0.5
"""A CKA above which its square is so light that a number on it is black."""


def _extrapolation(figure: SubFigure, view: FigureView) -> None:
    """For each calculator a row: energies with Q and T^2 below them, frame by frame, and force errors against Q.

    Below, where several calculators show features: how alike these are.
    """
    maps = {curve.measurement.calculator: Map.of_arrays(curve.measurement.arrays) for curve in view.curves}
    known = {label: each for label, each in maps.items() if each is not None}
    beside = len(known) > 1
    heights = [ROW_IN] * len(view.curves) + [MAPS_IN] * beside
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, curve in zip(parts, view.curves, strict=False):
        rows = part.subplots(2, 2, squeeze=False, width_ratios=(2, 1))
        (top, _), (bottom, _) = rows
        top.sharex(bottom)
        _profile(top, bottom, curve)
        grid = rows[0, 1].get_gridspec()
        for axes in rows[:, 1]:
            axes.remove()
        _errors(part.add_subplot(grid[:, 1]), curve)
    if beside:
        _maps(parts[-1], known, {curve.measurement.calculator: curve.style["color"] for curve in view.curves})


def _maps(figure: SubFigure, maps: Mapping[str, Map], colors: Mapping[str, Any]) -> None:
    """How alike the layers of some models are, and t-SNE of all atoms, and of those of each element."""
    drawn = embedding(list(maps.values()))
    shown = [] if drawn is None else ["all atoms", *sorted(set(drawn[1].tolist()))]
    first, *rest = figure.subplots(1, 1 + len(shown), squeeze=False, width_ratios=(1.6, *[1] * len(shown)))[0]
    _alike(first, *matrix(maps))
    for axes, name in zip(rest, shown, strict=True):
        assert drawn is not None
        mine = drawn[1] == name if name in drawn[1] else np.full(len(drawn[1]), True)
        for index, (label, points) in enumerate(zip(maps, drawn[0], strict=True)):
            axes.plot(*points[mine].T, MARKERS[index % len(MARKERS)], color=colors[label], markersize=3, label=label,
                      markerfacecolor="none")  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"{name}, t-SNE", fontsize=9)
    if rest:
        rest[0].legend(frameon=False, fontsize=7)


def _alike(axes: Axes, names: Sequence[str], alike: Sequence[Sequence[Similarity | None]]) -> None:
    """A square for each pair of layers, with its CKA and the ends of its interval."""
    axes.imshow([[each.value if each else np.nan for each in row] for row in alike], vmin=0, vmax=1, cmap="cividis")
    for row, column in np.ndindex(len(names), len(names)):
        if found := alike[row][column]:
            text = f"{found.value:.2f}" + (f"\n{found.low:.2f}–{found.high:.2f}" if row != column else "")
            shade = "black" if found.value > MIDDLE else "white"
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color=shade)
    axes.set_xticks(range(len(names)), [str(n) for n in range(1, len(names) + 1)], fontsize=6)
    axes.set_yticks(range(len(names)), [f"{name}: {n}" for n, name in enumerate(names, 1)], fontsize=6)
    axes.set_title("linear CKA of layers, within elements", fontsize=9)


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
        bottom.plot([], [], marker, color=color, markersize=5, label=origin)
        for name, size, shade in (("t2_ratio", 3, T2_COLOR), ("q_ratio", 5, color)):
            bottom.plot(mine, [arrays[name][i] for i in mine], marker, color=shade, markersize=size)
        for i in mine if "farthest" in arrays and len(paths) <= MOST_POINTED_AT else ():
            said = f"{HOVER}{paths[i]}, frame {arrays['place'][i]}: farthest {arrays['farthest'][i]}"
            bottom.plot(i, arrays["q_ratio"][i], marker, color=color, markersize=5, gid=said)
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
    found = curve.measurement.values.get("q_error_correlation")
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
            cka, half, drift = (
                np.array([arrays[name][i] for i in mine], dtype=float) for name in ("cka", "cka_half_width", "drift")
            )
            alike.errorbar(places, cka, half, linestyle="", capsize=2, **style)
            drifted.plot(places, drift, linestyle="", **style)
        for axes, name in ((alike, "linear CKA"), (drifted, "drift, in the\nfoundation's spread")):
            axes.set_xticks(range(len(elements)), elements)
            axes.set_ylabel(name)
        alike.set_ylim(top=1.05)
        drifted.margins(y=0.1)
        drifted.set_ylim(bottom=0)
        if elements:
            drifted.legend(frameon=False, fontsize=8)
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
    _extrapolation, lambda calculators: (9.6, ROW_IN * calculators + MAPS_IN * (calculators > 1)), needs_a_model=True
)
"""Frames of some paths against a training set."""
