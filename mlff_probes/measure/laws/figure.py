"""Pictures of physical laws: how far every example is from each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers

from mlff_probes.core.view import FigureView
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.styles import REFERENCE_COLOR, legend_columns, legend_room

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

FEW = 20
"""Number of elements from which labels along both sides of a matrix are too small to be read."""

LEAST = 1e-6
"""Deviations below this part of their tolerance are drawn there, zeros among them."""


def _laws(figure: SubFigure, view: FigureView) -> None:
    """The deviation of every example from each law, as a part of its tolerance."""
    _deviations(figure.subplots(), view)


def _deviations(axes: Axes, view: FigureView) -> None:
    drawn = view.curves
    quantities = [name for name in view.quantities if any(m.arrays.get(name) for m, _ in drawn)][::-1]
    for place, (measurement, style) in enumerate(drawn):
        for line, quantity in enumerate(quantities):
            tolerance = view.tolerance(measurement.calculator, quantity)
            found = [max(value / tolerance, LEAST) for value in measurement.arrays.get(quantity, [])]
            height = line + 0.6 * ((place + 0.5) / len(drawn) - 0.5)
            unknown = [value / tolerance for value in measurement.arrays.get(f"{quantity}_uncertainty", [])]
            axes.plot(unknown, [height] * len(unknown), "|", color="0.6", ms=6, label="uncertainty" if line + place == 0
                      and unknown else None)  # fmt: skip
            axes.plot(found, [height] * len(found), style["marker"], color=style["color"], ms=4, alpha=0.5, mec="none",
                      label=measurement.calculator if line == 0 else None)  # fmt: skip
    axes.axvline(1.0, color=REFERENCE_COLOR, linewidth=1.0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlim(left=LEAST / 2, right=max(3.0, axes.get_xlim()[1]))
    axes.set_yticks(range(len(quantities)), [quantity.replace("_", " ") for quantity in quantities])
    axes.set_ylim(-0.5, len(quantities) - 0.5)
    for line in range(1, len(quantities)):
        axes.axhline(line - 0.5, color="0.9", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"deviation / tolerance (line: 1, {LEAST:g}: none)")
    columns = legend_columns(["uncertainty", *(m.calculator for m, _ in drawn)])
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns)


def _smoothness(figure: SubFigure, view: FigureView) -> None:
    """All deviations on the left; for each calculator energy and force along the line with the largest jump."""
    drawn = [(m, style) for m, style in view.curves if "place" in m.arrays]
    grid = figure.add_gridspec(2, 1 + len(drawn))
    _deviations(figure.add_subplot(grid[:, 0]), view)
    for column, (measurement, style) in enumerate(drawn, 1):
        arrays = measurement.arrays
        panels = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        for axes, what, unit in zip(panels, ("energy", "force"), ("eV", "eV/Å"), strict=True):
            axes.plot(arrays["place"], arrays[what], color=style["color"])
            axes.axvline(arrays["jump"][0], color="0.6", linewidth=0.8, linestyle=":")
            axes.set_ylabel(f"{what} ({unit})")
        panels[0].set_title(f"{measurement.calculator}\n{measurement.diagnostics['line']}", fontsize=9)
        panels[1].set_xlabel("place (Å; dotted: largest jump)")


def _wall(figure: SubFigure, view: FigureView) -> None:
    """For each calculator the curves of some pairs above, and below what all pairs lack."""
    from matplotlib import colormaps

    drawn = [(m, style) for m, style in view.curves if "pair" in m.arrays]
    panels = figure.subplots(2, len(drawn), squeeze=False, height_ratios=(1, 2))
    for column, (measurement, _) in enumerate(drawn):
        arrays, (top, bottom) = measurement.arrays, panels[:, column]
        for index, name in enumerate(key for key in arrays if key.startswith("energy_")):
            energies = arrays[name]
            top.plot(arrays["distance"][: len(energies)], energies, "-o", color=colormaps["tab20"](index % 20), ms=3,
                     label=name.removeprefix("energy_"))  # fmt: skip
        top.set_yscale("symlog", linthresh=10)
        top.yaxis.set_major_formatter("{x:g}")
        top.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        top.set_title(measurement.calculator, fontsize=9)
        top.set_xlabel("distance / sum of covalent radii")
        top.set_ylabel("energy, outermost = 0 (eV)")
        top.legend(frameon=False, fontsize=7, ncols=2)
        _pairs(figure, bottom, arrays)


def _pairs(figure: SubFigure, axes: Axes, arrays: dict[str, list[Any]]) -> None:
    """What the wall of each pair of elements lacks, as a matrix."""
    pairs = [tuple(name.split("-")) for name in arrays["pair"]]
    elements = sorted({element for pair in pairs for element in pair}, key=atomic_numbers.__getitem__)
    lacks = np.full((len(elements), len(elements)), np.nan)
    for (one, other), value in zip(pairs, arrays["wall_deficit"], strict=True):
        i, j = sorted((elements.index(one), elements.index(other)), reverse=True)
        lacks[i, j] = value
    image = axes.imshow(lacks, cmap="Reds", vmin=0.0, vmax=5.0)
    if len(elements) < FEW:
        axes.set_xticks(range(len(elements)), elements, fontsize=8, rotation=90)
        axes.set_yticks(range(len(elements)), elements, fontsize=8)
    else:  # one label at the corner of row and column: half as many, with room to be read, and cheap to lay out
        axes.set_xticks([])
        axes.set_yticks([])
        for place, element in enumerate(elements):
            axes.text(place + 0.5, place - 0.5, element, fontsize=5, rotation=45, va="bottom", in_layout=False)
    figure.colorbar(image, ax=axes, label="missing wall (eV)", shrink=0.6)


def law_drawing(height: float) -> Drawing:
    """How the deviations from some laws are drawn, `height` in inches."""
    return Drawing(_laws, lambda calculators: (7.2, height + legend_room(calculators)))


SYMMETRY = law_drawing(5.4)
DERIVATIVES = law_drawing(2.4)
REPRODUCIBILITY = law_drawing(4.8)
STATED_LEVEL = law_drawing(1.8)
SMOOTHNESS = Drawing(_smoothness, lambda calculators: (5.2 + 4.2 * calculators, 4.8))
WALL = Drawing(_wall, lambda calculators: (max(7.2 * calculators, 7.2), 10.8))
