"""Pictures of a scorecard: DFT against the model along each path and each slide."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text

from mlff_probes.evaluation import describe
from mlff_probes.records import NOT_STATED, Measurement
from mlff_probes.scorecard.model import CaseSummary, Scorecard

DPI = 130
PICTURES = (".png", ".pdf", ".svg")
"""Suffixes of a picture that a user may ask for."""
MOST_COLUMNS = 2
REFERENCE_COLOR = "black"
COLORS = ("tab:red", "tab:blue", "tab:green", "tab:orange", "tab:purple", "tab:brown", "tab:pink", "tab:cyan")
MARKERS = "ovsD^<>P"
PARITY_PANELS = (
    ("energy", "eV/atom, centred", "origin"),
    ("force", "eV/Å", "element"),
)
LEAST = 1e-6
"""Deviations below this part of their tolerance are drawn there, zeros among them."""

REGISTRY_TITLES = {"crystal": "crystal (u = 0)", "atop": "atop (u = 1/3)", "fault": "stacking fault (u = 2/3)"}


class Picture(Figure):
    """A figure that a notebook shows when a cell ends in it, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=DPI)
        return out.getvalue()


def draw_cases(card: Scorecard, cases: Sequence[CaseSummary]) -> Picture | None:
    """One picture of some cases with all calculators of the run; None where there is nothing to draw."""
    drawn = [case for case in cases if case.kind in _DRAWERS and _has_anything(card, case)]
    if not drawn:
        return None
    columns = min(len(drawn), MOST_COLUMNS)
    lines = -(-len(drawn) // columns)
    sizes = [_DRAWERS[case.kind].size(len(_curves(card, case))) for case in drawn]
    width, height = (max(side) for side in zip(*sizes, strict=True))
    picture = Picture(figsize=(width * columns, height * lines), layout="constrained")
    parts = picture.subfigures(lines, columns, squeeze=False).ravel()
    for part, case in zip(parts, drawn, strict=False):
        part.suptitle(case.title, fontsize=10, wrap=True)
        _DRAWERS[case.kind].draw(part, card, case)
    for text in picture.findobj(Text):
        text.set_parse_math(False)  # a title is the user's text, and a $ in it no formula
    return picture


def write_figures(card: Scorecard, directory: Path) -> tuple[dict[str, Path], list[str]]:
    """Write one PNG a case into `directory`, created if need be.

    Returns
    -------
    dict, list
        The files by case id, and a sentence for each picture that could not be drawn: it costs no other.
    """
    written, problems = {}, []
    for case in card.cases:
        try:
            figure = draw_cases(card, [case])
            if figure is None:
                continue
            directory.mkdir(parents=True, exist_ok=True)
            figure.savefig(directory / f"{case.id}.png", dpi=DPI)
        except Exception as error:  # whatever a drawing library makes of odd numbers
            problems.append(f"the figure of {case.id} could not be drawn: {describe(error)}")
        else:
            written[case.id] = directory / f"{case.id}.png"
    return written, problems


def _has_anything(card: Scorecard, case: CaseSummary) -> bool:
    """Whether there is a curve to draw; a parity plot needs a model, of the others the reference is worth a picture."""
    return bool(_curves(card, case) or (case.reference_arrays and case.kind not in ("parity", "relaxed_path")))


def _path(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    forces = [m.diagnostics.get("perpendicular_force_ev_per_a") for m, _ in _curves(card, case)]
    if any(forces) or case.reference_diagnostics.get("perpendicular_force_ev_per_a"):
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        bottom.set_ylabel("perpendicular\nforce (eV/Å)")
    else:  # two images, or nobody supplies forces
        top = bottom = figure.subplots()
    if case.reference_arrays:
        _reference_path(card, case, top, bottom)
    for (measurement, style), force in zip(_curves(card, case), forces, strict=True):
        arrays = measurement.arrays
        top.plot(arrays["path_fraction"], arrays["energy"], label=measurement.calculator, **style)
        if force:
            bottom.plot(arrays["path_fraction"][1:-1], force, **style)
    top.set_ylabel("energy, first image = 0 (eV)")
    made_by = case.protocol["path_made_by"]
    bottom.set_xlabel("path fraction" if made_by == NOT_STATED else f"path fraction (path made by {made_by})")
    top.legend(frameon=False)


def _reference_path(card: Scorecard, case: CaseSummary, top: Axes, bottom: Axes) -> None:
    uncertainty = _uncertainty(card, case, ("barrier", "profile_mae"))
    x, y = case.reference_arrays["path_fraction"], case.reference_arrays["energy"]
    if uncertainty:
        band = [0.0, *[uncertainty] * (len(y) - 1)]  # the first image is the zero of energy by definition
        low, high = zip(*((v - u, v + u) for v, u in zip(y, band, strict=True)), strict=True)
        top.fill_between(x, low, high, color="0.85", label=f"uncertainty of {_reference_name(case)}")
    top.plot(x, y, "-o", color=REFERENCE_COLOR, label=_reference_name(case), zorder=3)
    if force := case.reference_diagnostics.get("perpendicular_force_ev_per_a"):
        bottom.plot(x[1:-1], force, "-o", color=REFERENCE_COLOR)


def _relaxed_path(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    """Relaxed profiles on the left, and for each calculator how its band went: energy and fmax of each image."""
    curves = _curves(card, case)
    grid = figure.add_gridspec(2, 1 + len(curves))
    profile = figure.add_subplot(grid[:, 0])
    for column, (measurement, style) in enumerate(curves, 1):
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
        style = {"color": REFERENCE_COLOR, "marker": "o"}
        _slide_curve(top, bottom, case.reference_arrays, case.level_of_theory, style)
    for measurement, style in _curves(card, case):
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
    top.legend(frameon=False)


def _slide_curve(top: Axes, bottom: Axes, arrays: dict[str, list[Any]], label: str, style: dict[str, Any]) -> None:
    line = {key: value for key, value in style.items() if key != "marker"}
    top.plot(arrays["slide_dense"], arrays["energy_dense"], **{"linestyle": "-", **line})
    top.plot(arrays["slide"], arrays["energy"], **{**style, "linestyle": "none"}, label=label)
    bottom.plot(arrays["slide_dense"], arrays["lateral_force_dense"], **{"linestyle": "-", **line})


def _relaxed(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    panels = figure.subplots(1, len(REGISTRY_TITLES), sharey=True)
    for axes, (name, title) in zip(panels, REGISTRY_TITLES.items(), strict=True):
        if reference := case.reference_arrays:
            axes.plot(reference[f"gap_{name}"], reference[f"energy_{name}"], "-o", color=REFERENCE_COLOR, ms=4,
                      label=case.level_of_theory)  # fmt: skip
        for measurement, style in _curves(card, case):
            axes.plot(measurement.arrays[f"gap_{name}"], measurement.arrays[f"energy_{name}"], ms=4,
                      label=measurement.calculator, **style)  # fmt: skip
        axes.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("gap (Å)")
    depth = max((-v for v in case.reference_arrays.get("energy_crystal", [])), default=0.0)
    if depth > 0:
        panels[0].set_ylim(-2.5 * depth, 3.5 * depth)  # the repulsive wall would hide the binding
    panels[0].set_ylabel("energy, crystal far apart = 0 (eV/cell)")
    panels[-1].legend(frameon=False)


def _vacancy(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    """E(a) of the crystal on the left, the energy along the band on the right; the reference as lines."""
    crystal, band = figure.subplots(1, 2)
    for measurement, style in _curves(card, case):
        arrays = measurement.arrays
        crystal.plot(arrays["lattice_constant"], arrays["crystal_energy"], label=measurement.calculator, **style)
        if "energy" in arrays:  # an exploded band is no path
            band.plot(arrays["path_fraction"], arrays["energy"], label=measurement.calculator, **style)
    for axes, draw, quantity in ((crystal, crystal.axvline, "lattice_constant"), (band, band.axhline, "barrier")):
        expected = _expected(card, case, quantity)
        if expected is not None:
            draw(expected, color=REFERENCE_COLOR, linewidth=1.0, label=_reference_name(case), zorder=0)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=8)
    crystal.set_xlabel("lattice constant (Å)")
    crystal.set_ylabel("crystal, minimum = 0 (eV/atom)")
    band.set_xlabel("path fraction (relaxed by each model)")
    band.set_ylabel("energy, relaxed vacancy = 0 (eV)")


def _laws(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    """The deviation of every example from each law, as a part of its tolerance."""
    _deviations(figure.subplots(), card, case)


def _deviations(axes: Axes, card: Scorecard, case: CaseSummary) -> None:
    curves = _curves(card, case)
    quantities = list(dict.fromkeys(r.quantity for r in card.results if r.case == case.id))[::-1]
    for place, (measurement, style) in enumerate(curves):
        for line, quantity in enumerate(quantities):
            tolerance = _tolerance(card, measurement, quantity)
            found = [max(value / tolerance, LEAST) for value in measurement.arrays.get(quantity, [])]
            height = line + 0.6 * ((place + 0.5) / len(curves) - 0.5)
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
    axes.set_xlabel(f"deviation / tolerance of each example (right of the line: failed; {LEAST:g}: none)")
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(curves))


def _tolerance(card: Scorecard, measurement: Measurement, quantity: str) -> float:
    """The tolerance that bound this calculator; 1 for what is only reported."""
    for row in card.results:
        if (row.calculator, row.case, row.quantity) == (measurement.calculator, measurement.case, quantity):
            return row.expectation.tolerance.value if row.expectation else 1.0
    return 1.0


def _smoothness(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    """All deviations on the left; for each calculator energy and force along the line with the largest jump."""
    curves = [(m, style) for m, style in _curves(card, case) if "place" in m.arrays]
    grid = figure.add_gridspec(2, 1 + len(curves))
    _deviations(figure.add_subplot(grid[:, 0]), card, case)
    for column, (measurement, style) in enumerate(curves, 1):
        arrays = measurement.arrays
        panels = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        for axes, what, unit in zip(panels, ("energy", "force"), ("eV", "eV/Å"), strict=True):
            axes.plot(arrays["place"], arrays[what], color=style["color"])
            axes.axvline(arrays["jump"][0], color="0.6", linewidth=0.8, linestyle=":")
            axes.set_ylabel(f"{what} ({unit})")
        panels[0].set_title(f"{measurement.calculator}\n{measurement.diagnostics['line']}", fontsize=9)
        panels[1].set_xlabel("place on the line (Å; dotted: largest jump of the force)")


def _wall(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    """For each calculator the curves of some pairs above, and below what all pairs lack."""
    curves = [(m, style) for m, style in _curves(card, case) if "pair" in m.arrays]
    panels = figure.subplots(2, len(curves), squeeze=False, height_ratios=(1, 2))
    for column, (measurement, _) in enumerate(curves):
        arrays, (top, bottom) = measurement.arrays, panels[:, column]
        for index, name in enumerate(key for key in arrays if key.startswith("energy_")):
            energies = arrays[name]
            top.plot(arrays["distance"][: len(energies)], energies, marker=MARKERS[index // len(COLORS) % len(MARKERS)],
                     color=COLORS[index % len(COLORS)], ms=3, label=name.removeprefix("energy_"))  # fmt: skip
        top.set_ylim(-6, 30)
        top.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        top.set_title(measurement.calculator, fontsize=9)
        top.set_xlabel("distance / sum of covalent radii")
        top.set_ylabel("energy, well = 0 (eV)")
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
    size = 8 if len(elements) < 20 else 4
    axes.set_xticks(range(len(elements)), elements, fontsize=size, rotation=90)
    axes.set_yticks(range(len(elements)), elements, fontsize=size)
    figure.colorbar(image, ax=axes, label="missing wall (eV)", shrink=0.6)


def _parity(figure: SubFigure, card: Scorecard, case: CaseSummary) -> None:
    """Model against reference, one column a calculator: energies by origin above, forces by element below."""
    curves = _curves(card, case)
    panels = figure.subplots(2, len(curves), squeeze=False)
    for column, (measurement, _) in enumerate(curves):
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
    "fixed_path": Drawer(_path, lambda _: (6.4, 5.4)),
    "relaxed_path": Drawer(_relaxed_path, lambda calculators: (4.2 * (1 + calculators), 5.4)),
    "fixed_gap_slide": Drawer(_slide, lambda _: (6.4, 5.4)),
    "relaxed_gap_slide": Drawer(_relaxed, lambda _: (9.6, 4.0)),
    "fcc_vacancy": Drawer(_vacancy, lambda _: (8.4, 4.0)),
    "symmetry": Drawer(_laws, lambda _: (7.2, 5.4)),
    "derivatives": Drawer(_laws, lambda _: (7.2, 2.4)),
    "smoothness": Drawer(_smoothness, lambda calculators: (5.2 + 4.2 * calculators, 4.8)),
    "short_range_wall": Drawer(_wall, lambda calculators: (max(7.2 * calculators, 7.2), 10.8)),
    "reproducibility": Drawer(_laws, lambda _: (7.2, 4.8)),
    "parity": Drawer(_parity, lambda calculators: (max(4.4 * calculators, 4.8), 8.8)),
}


def _curves(card: Scorecard, case: CaseSummary) -> list[tuple[Measurement, dict[str, Any]]]:
    """What was measured for `case`, with a colour and a marker that a calculator keeps in all figures."""
    found = []
    for index, identity in enumerate(card.calculators):
        measurement = card.measurement(identity.label, case.id)
        if measurement is not None and measurement.arrays:
            style = {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)], "linestyle": "--"}
            found.append((measurement, style))
    return found


def _reference_name(case: CaseSummary) -> str:
    return "reference" if case.level_of_theory == NOT_STATED else case.level_of_theory


def _uncertainty(card: Scorecard, case: CaseSummary, quantities: tuple[str, ...]) -> float:
    rows = [r.expectation for r in card.results if r.case == case.id and r.quantity in quantities and r.expectation]
    return rows[0].uncertainty if rows else 0.0


def _expected(card: Scorecard, case: CaseSummary, quantity: str) -> float | None:
    rows = [r.expectation for r in card.results if r.case == case.id and r.quantity == quantity and r.expectation]
    return rows[0].value if rows else None
