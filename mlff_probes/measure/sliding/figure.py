"""Pictures of sliding: energy and lateral force along a slide, E(gap) at each registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlff_probes.core.view import FigureView
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.styles import CORRECTED, MOST_INSIDE, REFERENCE, legend, legend_room

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

REGISTRY_TITLES = {"crystal": "crystal (u = 0)", "atop": "atop (u = 1/3)", "fault": "stacking fault (u = 2/3)"}


def _slide(figure: SubFigure, view: FigureView) -> None:
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    if view.reference:
        style = {**REFERENCE, "linestyle": "-", "zorder": 3}
        _slide_curve(top, bottom, view.reference, view.level_of_theory, style)
    for measurement, style in view.curves:
        _slide_curve(top, bottom, measurement.arrays, measurement.calculator, style)
    for axes in (top, bottom):
        for u in (1 / 3, 2 / 3):
            axes.axvline(u, color="0.8", linewidth=0.8, zorder=0)
    for u, name in ((0.0, "crystal"), (1 / 3, "atop"), (2 / 3, "fault"), (1.0, "crystal")):
        top.annotate(name, (u, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8)
    top.set_ylabel("energy, crystal = 0 (eV/cell)")
    bottom.set_ylabel("lateral force\n(eV/Å)")
    along = " + ".join(f"{n} {a}" for n, a in zip(view.protocol["slide_vector"], ("a₁", "a₂"), strict=True))
    bottom.set_xlabel(f"slide u (one period along {along})")
    legend(top, len(view.curves), above=1.08)


def _slide_curve(top: Axes, bottom: Axes, arrays: Mapping[str, list[Any]], label: str, style: dict[str, Any]) -> None:
    line = {**style, "marker": "none"}
    top.plot(arrays["slide_dense"], arrays["energy_dense"], **line)
    top.plot(arrays["slide"], arrays["energy"], **{**style, "linestyle": "none"})
    top.plot([], [], label=label, **style)
    bottom.plot(arrays["slide_dense"], arrays["lateral_force_dense"], **line)


def _relaxed_gap(figure: SubFigure, view: FigureView) -> None:
    anything = view.reference or (view.curves[0][0].arrays if view.curves else {})
    shown = [name for name in REGISTRY_TITLES if f"gap_{name}" in anything]
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, shown, strict=True):
        if reference := view.reference:
            axes.plot(reference[f"gap_{name}"], reference[f"energy_{name}"], label=view.level_of_theory,
                      zorder=3, **REFERENCE)  # fmt: skip
        for measurement, style in view.curves:
            axes.plot(measurement.arrays[f"gap_{name}"], measurement.arrays[f"energy_{name}"],
                      label=measurement.calculator, **style)  # fmt: skip
        axes.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        axes.set_title(REGISTRY_TITLES[name], fontsize=9)
        axes.set_xlabel("gap (Å)")
    references = [view.reference, *(m.arrays for m, style in view.curves if style is CORRECTED)]
    depth = max((-v for reference in references for v in reference.get("energy_crystal", [])), default=0.0)
    if depth > 0:
        panels[0].set_ylim(-2.5 * depth, 3.5 * depth)  # the repulsive wall would hide the binding
    panels[0].set_ylabel("energy, crystal far apart = 0 (eV/cell)")
    if len(view.curves) > MOST_INSIDE:
        legend(panels[len(panels) // 2], len(view.curves), above=1.1)
    else:
        panels[-1].legend(frameon=False)


FIXED_GAP = Drawing(_slide, lambda calculators: (6.4, 5.4 + legend_room(calculators)))
RELAXED_GAP = Drawing(_relaxed_gap, lambda calculators: (9.6, 4.0 + legend_room(calculators)))
