"""Pictures of a scorecard: DFT against the model along each path and each slide."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from mlff_probes.evaluation import describe
from mlff_probes.records import NOT_STATED, Measurement
from mlff_probes.scorecard import comparison_figures, dynamics_figures, law_figures, speed_figures
from mlff_probes.scorecard.model import CaseSummary, Scorecard
from mlff_probes.scorecard.side_by_side import compared
from mlff_probes.scorecard.styles import (
    COLORS,
    MARKERS,
    REFERENCE,
    REFERENCE_COLOR,
    curves,
    legend_columns,
    own_settings,
)

DPI = 130
BARRIER_ERRORS = "barrier-errors"
"""Name of the picture of all barriers; a hyphen, so that no case is called so."""

PICTURES = (".png", ".pdf", ".svg")
"""Suffixes of a picture that a user may ask for."""
MOST_COLUMNS = 2
TITLE_LETTERS = 11.5
"""Letters of a title in an inch. Matplotlib, which could wrap it, would measure what is between two $ as a formula."""

MOST_INSIDE = 2
"""Calculators whose legend finds room beside the curves."""

NEED_A_MODEL = ("parity", "relaxed_path", "molecular_dynamics")
PARITY_PANELS = (
    ("energy", "eV/atom, centred", "origin"),
    ("force", "eV/Å", "element"),
)
REGISTRY_TITLES = {"crystal": "crystal (u = 0)", "atop": "atop (u = 1/3)", "fault": "stacking fault (u = 2/3)"}


class Picture(Figure):
    """A figure that a notebook shows when a cell ends in it, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        with own_settings():
            self.savefig(out, format="png", dpi=DPI)
        return out.getvalue()


def draw_cases(card: Scorecard, cases: Sequence[CaseSummary]) -> Picture | None:
    """One picture of some cases with all calculators of the run; None where there is nothing to draw."""
    drawn = [case for case in cases if case.kind in _DRAWERS and _has_anything(card, case)]
    if not drawn:
        return None
    columns = min(len(drawn), MOST_COLUMNS)
    lines = -(-len(drawn) // columns)
    sizes = [_DRAWERS[case.kind].size(len(curves(card, case))) for case in drawn]
    width, height = (max(side) for side in zip(*sizes, strict=True))
    with own_settings():
        picture = Picture(figsize=(width * columns, height * lines), layout="constrained")
        parts = picture.subfigures(lines, columns, squeeze=False).ravel()
        for part, case in zip(parts, drawn, strict=False):
            part.suptitle(textwrap.fill(case.title, int(TITLE_LETTERS * width)), fontsize=10)
            _DRAWERS[case.kind].draw(part, card, case)
    return picture


def draw_barriers(card: Scorecard) -> Picture | None:
    """One picture of the errors of all barriers; None where there is none to compare."""
    paths = len({row.case for row in card.results if row.expectation and row.quantity == comparison_figures.QUANTITY})
    calculators = len(card.calculators)
    size = max(6.4, (0.5 + 0.15 * calculators) * paths), 4.4 + _room(calculators)
    with own_settings():
        picture = Picture(figsize=size, layout="constrained")
        drawn = comparison_figures.barriers(picture.subplots(), card)
    return picture if drawn else None


def write_figures(card: Scorecard, directory: Path) -> tuple[dict[str, Path], list[str]]:
    """Write one PNG a case into `directory`, created if need be, and one of all barriers of several calculators.

    Returns
    -------
    dict, list
        The files by case id or `BARRIER_ERRORS`, and a sentence for each picture that could not be drawn: it costs
        no other.
    """
    written, problems = {}, []
    drawings: dict[str, Callable[[], Picture | None]] = {
        case.id: partial(draw_cases, card, [case]) for case in card.cases
    }
    if compared(card):
        drawings[BARRIER_ERRORS] = partial(draw_barriers, card)
    for name, draw in drawings.items():
        try:
            figure = draw()
            if figure is None:
                continue
            directory.mkdir(parents=True, exist_ok=True)
            with own_settings():
                figure.savefig(directory / f"{name}.png", dpi=DPI)
        except Exception as error:  # whatever a drawing library makes of odd numbers
            problems.append(f"the figure of {name} could not be drawn: {describe(error)}")
        else:
            written[name] = directory / f"{name}.png"
    return written, problems


def _has_anything(card: Scorecard, case: CaseSummary) -> bool:
    """Whether there is a curve to draw; some plots need a model, of the others the reference is worth a picture."""
    return bool(curves(card, case) or (case.reference_arrays and case.kind not in NEED_A_MODEL))


def _path(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    forces = [m.diagnostics.get("perpendicular_force_ev_per_a") for m, _ in curves(card, case)]
    if any(forces) or case.reference_diagnostics.get("perpendicular_force_ev_per_a"):
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        bottom.set_ylabel("perpendicular\nforce (eV/Å)")
    else:  # two images, or nobody supplies forces
        top = bottom = figure.subplots()
    if case.reference_arrays:
        _reference_path(card, case, top, bottom)
    for (measurement, style), force in zip(curves(card, case), forces, strict=True):
        arrays = measurement.arrays
        top.plot(arrays["path_fraction"], arrays["energy"], label=measurement.calculator, **style)
        if force:
            bottom.plot(arrays["path_fraction"][1:-1], force, **style)
    top.set_ylabel("energy, first image = 0 (eV)")
    made_by = case.protocol["path_made_by"]
    bottom.set_xlabel("path fraction" if made_by == NOT_STATED else f"path fraction (path made by {made_by})")
    _legend(top, len(forces))


def _reference_path(card: Scorecard, case: CaseSummary, top: Axes, bottom: Axes) -> None:
    uncertainty = _uncertainty(card, case, ("barrier", "profile_mae"))
    x, y = case.reference_arrays["path_fraction"], case.reference_arrays["energy"]
    if uncertainty:
        band = [0.0, *[uncertainty] * (len(y) - 1)]  # the first image is the zero of energy by definition
        low, high = zip(*((v - u, v + u) for v, u in zip(y, band, strict=True)), strict=True)
        top.fill_between(x, low, high, color="0.85", label=f"uncertainty of {_reference_name(case)}")
    top.plot(x, y, label=_reference_name(case), zorder=3, **REFERENCE)
    if force := case.reference_diagnostics.get("perpendicular_force_ev_per_a"):
        bottom.plot(x[1:-1], force, zorder=3, **REFERENCE)


def _relaxed_path(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    """Relaxed profiles on the left, and for each calculator how its band went: energy and fmax of each image."""
    drawn = curves(card, case)
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
        bottom.axhline(case.protocol["fmax"], color="0.6", linewidth=0.8)
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


def _slide(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    if case.reference_arrays:
        style = {**REFERENCE, "linestyle": "-", "zorder": 3}
        _slide_curve(top, bottom, case.reference_arrays, case.level_of_theory, style)
    for measurement, style in curves(card, case):
        _slide_curve(top, bottom, measurement.arrays, measurement.calculator, style)
    for axes in (top, bottom):
        for u in (1 / 3, 2 / 3):
            axes.axvline(u, color="0.8", linewidth=0.8, zorder=0)
    for u, name in ((0.0, "crystal"), (1 / 3, "atop"), (2 / 3, "fault"), (1.0, "crystal")):
        top.annotate(name, (u, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8)
    top.set_ylabel("energy, crystal = 0 (eV/cell)")
    bottom.set_ylabel("lateral force\n(eV/Å)")
    along = " + ".join(f"{n} {a}" for n, a in zip(case.protocol["slide_vector"], ("a₁", "a₂"), strict=True))
    bottom.set_xlabel(f"slide u (one period along {along})")
    _legend(top, len(curves(card, case)), above=1.08)


def _slide_curve(top: Axes, bottom: Axes, arrays: dict[str, list[Any]], label: str, style: dict[str, Any]) -> None:
    line = {**style, "marker": "none"}
    top.plot(arrays["slide_dense"], arrays["energy_dense"], **line)
    top.plot(arrays["slide"], arrays["energy"], **{**style, "linestyle": "none"})
    top.plot([], [], label=label, **style)
    bottom.plot(arrays["slide_dense"], arrays["lateral_force_dense"], **line)


def _relaxed(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    panels = figure.subplots(1, len(REGISTRY_TITLES), sharey=True)
    for axes, (name, title) in zip(panels, REGISTRY_TITLES.items(), strict=True):
        if reference := case.reference_arrays:
            axes.plot(reference[f"gap_{name}"], reference[f"energy_{name}"], label=case.level_of_theory,
                      zorder=3, **REFERENCE)  # fmt: skip
        for measurement, style in curves(card, case):
            axes.plot(measurement.arrays[f"gap_{name}"], measurement.arrays[f"energy_{name}"],
                      label=measurement.calculator, **style)  # fmt: skip
        axes.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("gap (Å)")
    depth = max((-v for v in case.reference_arrays.get("energy_crystal", [])), default=0.0)
    if depth > 0:
        panels[0].set_ylim(-2.5 * depth, 3.5 * depth)  # the repulsive wall would hide the binding
    panels[0].set_ylabel("energy, crystal far apart = 0 (eV/cell)")
    if len(curves(card, case)) > MOST_INSIDE:
        _legend(panels[1], len(curves(card, case)), above=1.1)
    else:
        panels[-1].legend(frameon=False)


def _legend(axes: Axes, calculators: int, *, above: float = 1.0) -> None:
    """A legend in the axes, or over them where so many entries would hide the curves."""
    if calculators <= MOST_INSIDE:
        axes.legend(frameon=False)
        return
    columns = legend_columns(axes.get_legend_handles_labels()[1])
    axes.legend(frameon=False, fontsize=8, ncols=columns, loc="lower center", bbox_to_anchor=(0.5, above))


def _room(calculators: int) -> float:
    """Inches that a legend over the axes needs."""
    return 0.1 * (calculators + 2) if calculators > MOST_INSIDE else 0.0


def _vacancy(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    """E(a) of the crystal on the left, the energy along the band on the right; the reference as lines."""
    crystal, band = figure.subplots(1, 2)
    for measurement, style in curves(card, case):
        arrays = measurement.arrays
        crystal.plot(arrays["lattice_constant"], arrays["crystal_energy"], label=measurement.calculator, **style)
        if "energy" in arrays:  # an exploded band is no path
            band.plot(arrays["path_fraction"], arrays["energy"], label=measurement.calculator, **style)
    for draw, quantity in ((crystal.axvline, "lattice_constant"), (band.axhline, "barrier")):
        expected = _expected(card, case, quantity)
        if expected is not None:
            draw(expected, color=REFERENCE_COLOR, linewidth=1.0, label=_reference_name(case), zorder=0)
    handles, labels = crystal.get_legend_handles_labels()
    if labels:
        columns = legend_columns(labels)
        figure.legend(handles, labels, frameon=False, fontsize=8, ncols=columns, loc="outside lower center")
    crystal.set_xlabel("lattice constant (Å)")
    crystal.set_ylabel("crystal, minimum = 0 (eV/atom)")
    band.set_xlabel("path fraction (relaxed by each model)")
    band.set_ylabel("energy, relaxed vacancy = 0 (eV)")


def _parity(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    """Model against reference, one column a calculator: energies by origin above, forces by element below."""
    drawn = curves(card, case)
    panels = figure.subplots(2, len(drawn), squeeze=False)
    for column, (measurement, _) in enumerate(drawn):
        for row, (what, unit, group) in enumerate(PARITY_PANELS):
            axes = panels[row, column]
            x, y, labels = (measurement.arrays.get(f"{what}_{part}", []) for part in ("reference", "model", group))
            for index, name in enumerate(sorted(set(labels))):
                mine = [i for i, label in enumerate(labels) if label == name]
                marker = MARKERS[(index + index // len(COLORS)) % len(MARKERS)]  # the ninth is not as the first
                axes.plot([x[i] for i in mine], [y[i] for i in mine], marker, ms=3, alpha=0.6,
                          color=COLORS[index % len(COLORS)], label=name)  # fmt: skip
            _square(axes, x, y)
            axes.set_title(f"{measurement.calculator}\n{_errors(measurement, what)}", fontsize=9)
            axes.set_xlabel(f"{_reference_name(case)} {what} ({unit})")
            axes.set_ylabel(f"model {what} ({unit})")
            axes.legend(frameon=False, fontsize=8)


def _square(axes: Axes, x: list[float], y: list[float]) -> None:
    """The same range on both axes, and the diagonal on which model and reference agree."""
    low, high = min([*x, *y], default=0.0), max([*x, *y], default=1.0)
    margin = 0.05 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.set_aspect("equal")
    axes.axline((0.0, 0.0), slope=1.0, color="black", linewidth=0.8, zorder=0)


def _errors(measurement: Measurement, what: str) -> str:
    """Mean and root mean square error, for the head of a panel."""
    found = [measurement.values.get(f"{what}_{metric}") for metric in ("mae", "rmse")]
    return ", ".join(
        f"{name} {value.value:.1f} {value.unit}"
        for name, value in zip(("MAE", "RMSE"), found, strict=True)
        if value is not None and value.value is not None
    )


@dataclass(frozen=True)
class Drawer:
    """How a kind of case is drawn, and how large (inches) the picture of so many calculators is."""

    draw: Callable[[SubFigure, Scorecard, CaseSummary], None]
    size: Callable[[int], tuple[float, float]]


_DRAWERS: dict[str, Drawer] = {
    "fixed_path": Drawer(_path, lambda calculators: (6.4, 5.4 + _room(calculators))),
    "relaxed_path": Drawer(_relaxed_path, lambda calculators: (4.2 * (1 + calculators), 5.4)),
    "fixed_gap_slide": Drawer(_slide, lambda calculators: (6.4, 5.4 + _room(calculators))),
    "relaxed_gap_slide": Drawer(_relaxed, lambda calculators: (9.6, 4.0 + _room(calculators))),
    "fcc_vacancy": Drawer(_vacancy, lambda calculators: (8.4, 4.2 + _room(calculators))),
    "symmetry": Drawer(law_figures.laws, lambda calculators: (7.2, 5.4 + _room(calculators))),
    "derivatives": Drawer(law_figures.laws, lambda calculators: (7.2, 2.4 + _room(calculators))),
    "smoothness": Drawer(law_figures.smoothness, lambda calculators: (5.2 + 4.2 * calculators, 4.8)),
    "short_range_wall": Drawer(law_figures.wall, lambda calculators: (max(7.2 * calculators, 7.2), 10.8)),
    "reproducibility": Drawer(law_figures.laws, lambda calculators: (7.2, 4.8 + _room(calculators))),
    "molecular_dynamics": Drawer(dynamics_figures.molecular_dynamics, lambda _: (13.2, 7.2)),
    "speed": Drawer(speed_figures.speed, lambda calculators: (4.2 * (2 + calculators), 4.4)),
    "path_agreement": Drawer(law_figures.laws, lambda calculators: (7.2, 6.4 + _room(calculators))),
    "parity": Drawer(_parity, lambda calculators: (max(4.4 * calculators, 4.8), 8.8)),
}


def _reference_name(case: CaseSummary) -> str:
    return "reference" if case.level_of_theory == NOT_STATED else case.level_of_theory


def _uncertainty(card: Scorecard, case: CaseSummary, quantities: tuple[str, ...]) -> float:
    rows = [r.expectation for r in card.results if r.case == case.id and r.quantity in quantities and r.expectation]
    return rows[0].uncertainty if rows else 0.0


def _expected(card: Scorecard, case: CaseSummary, quantity: str) -> float | None:
    rows = [r.expectation for r in card.results if r.case == case.id and r.quantity == quantity and r.expectation]
    return rows[0].value if rows else None
