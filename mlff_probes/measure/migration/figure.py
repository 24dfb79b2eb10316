"""Pictures of migration: the profile of a path, the history of its bands, a vacancy."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from mlff_probes.core.records import NOT_STATED
from mlff_probes.core.view import FigureView
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.styles import COLORS, REFERENCE, REFERENCE_COLOR, legend, legend_columns, legend_room

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure


def _path(figure: SubFigure, view: FigureView) -> None:
    forces = [m.diagnostics.get("perpendicular_force_ev_per_a") for m, _ in view.curves]
    if any(forces) or view.reference_diagnostics.get("perpendicular_force_ev_per_a"):
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        bottom.set_ylabel("perpendicular\nforce (eV/Å)")
    else:  # two images, or nobody supplies forces
        top = bottom = figure.subplots()
    if view.reference:
        _reference_path(view, top, bottom)
    for (measurement, style), force in zip(view.curves, forces, strict=True):
        arrays = measurement.arrays
        top.plot(arrays["path_fraction"], arrays["energy"], label=measurement.calculator, **style)
        if force:
            bottom.plot(arrays["path_fraction"][1:-1], force, **style)
    top.set_ylabel("energy, first image = 0 (eV)")
    made_by = view.protocol["path_made_by"]
    bottom.set_xlabel("path fraction" if made_by == NOT_STATED else f"path fraction (path made by {made_by})")
    legend(top, len(forces))


def _reference_path(view: FigureView, top: Axes, bottom: Axes) -> None:
    expected = view.expected("barrier", "profile_mae")
    uncertainty = expected.uncertainty if expected else 0.0
    x, y = view.reference["path_fraction"], view.reference["energy"]
    if uncertainty:
        band = [0.0, *[uncertainty] * (len(y) - 1)]  # the first image is the zero of energy by definition
        low, high = zip(*((v - u, v + u) for v, u in zip(y, band, strict=True)), strict=True)
        top.fill_between(x, low, high, color="0.85", label=f"uncertainty of {view.reference_name}")
    top.plot(x, y, label=view.reference_name, zorder=3, **REFERENCE)
    if force := view.reference_diagnostics.get("perpendicular_force_ev_per_a"):
        bottom.plot(x[1:-1], force, zorder=3, **REFERENCE)


def _relaxed_path(figure: SubFigure, view: FigureView) -> None:
    """Relaxed profiles on the left, and for each calculator how its band went: energy and fmax of each image."""
    drawn = view.curves
    grid = figure.add_gridspec(2, 1 + len(drawn))
    profile = figure.add_subplot(grid[:, 0])
    for column, (measurement, style) in enumerate(drawn, 1):
        arrays, outcome = measurement.arrays, str(measurement.diagnostics.get("outcome"))
        if "energy" in arrays:
            profile.plot(arrays["path_fraction"], arrays["energy"], label=measurement.calculator, **style)
        else:  # an entry in the legend, but no curve that could be taken for a barrier
            profile.plot([], [], label=f"{measurement.calculator}: {outcome}", **style)
        top, bottom = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        lengths = arrays.get("band_steps") or [len(arrays.get("energy_history", []))]
        _history(top, arrays.get("energy_history", []), lengths, first=0)
        _history(bottom, arrays.get("fmax_history", []), lengths, first=1)
        bottom.axhline(view.protocol["fmax"], color="0.6", linewidth=0.8)
        for begin in accumulate(lengths[:-1]):
            for axes in (top, bottom):
                axes.axvline(begin - 0.5, color="0.6", linewidth=0.8, linestyle=":")
        bottom.set_yscale("log")
        bottom.yaxis.set_major_formatter("{x:g}")
        bottom.yaxis.set_minor_formatter("")
        top.set_title(f"{measurement.calculator}: {outcome}", fontsize=9)
        top.set_ylabel("energy, first image = 0 (eV)")
        bottom.set_ylabel("fmax (eV/Å)")
        bottom.set_xlabel("step (one line an image)")
    profile.set_xlabel("path fraction")
    profile.set_ylabel("energy of the relaxed band (eV)")
    profile.legend(frameon=False, fontsize=8)


def _history(axes: Axes, rows: list[list[float]], lengths: list[int], *, first: int) -> None:
    """One line for each image over the steps of each band; the end images are left out where they have no force."""
    for end, length in zip(accumulate(lengths), lengths, strict=True):
        for image, values in enumerate(zip(*rows[end - length : end], strict=True), first):
            axes.plot(range(end - length, end), values, color=COLORS[image % len(COLORS)], linewidth=1.0)


def _vacancy(figure: SubFigure, view: FigureView) -> None:
    """E(a) of the crystal on the left, the energy along the band on the right; the reference as lines."""
    crystal, band = figure.subplots(1, 2)
    for measurement, style in view.curves:
        arrays = measurement.arrays
        crystal.plot(arrays["lattice_constant"], arrays["crystal_energy"], label=measurement.calculator, **style)
        if "energy" in arrays:  # an exploded band is no path
            band.plot(arrays["path_fraction"], arrays["energy"], label=measurement.calculator, **style)
    for draw, quantity in ((crystal.axvline, "lattice_constant"), (band.axhline, "barrier")):
        expected = view.expected(quantity)
        if expected is not None:
            draw(expected.value, color=REFERENCE_COLOR, linewidth=1.0, label=view.reference_name, zorder=0)
    handles, labels = crystal.get_legend_handles_labels()
    if labels:
        columns = legend_columns(labels)
        figure.legend(handles, labels, frameon=False, fontsize=8, ncols=columns, loc="outside lower center")
    crystal.set_xlabel("lattice constant (Å)")
    crystal.set_ylabel("crystal, minimum = 0 (eV/atom)")
    band.set_xlabel("path fraction (relaxed by each model)")
    band.set_ylabel("energy, relaxed vacancy = 0 (eV)")


FIXED_PATH = Drawing(_path, lambda calculators: (6.4, 5.4 + legend_room(calculators)))
RELAXED_PATH = Drawing(_relaxed_path, lambda calculators: (4.2 * (1 + calculators), 5.4), needs_a_model=True)
VACANCY = Drawing(_vacancy, lambda calculators: (8.4, 4.2 + legend_room(calculators)))
