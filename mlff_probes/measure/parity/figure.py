"""Pictures of parity: model against reference, frame by frame and atom by atom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_probes.core.records import Measurement
from mlff_probes.core.units import number
from mlff_probes.core.view import FigureView
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.styles import COLORS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

PARITY_PANELS = (
    ("energy", "eV/atom, centred", "origin"),
    ("force", "eV/Å", "element"),
    ("stress", "GPa", "component"),
)


def _parity(figure: SubFigure, view: FigureView) -> None:
    """Model against reference, one column a calculator: energies by origin, forces by element, stresses, if any."""
    drawn = view.curves
    rows = [panel for panel in PARITY_PANELS if panel[0] != "stress" or _has_stress(view)]
    panels = figure.subplots(len(rows), len(drawn), squeeze=False)
    for column, (measurement, _) in enumerate(drawn):
        for row, (what, unit, group) in enumerate(rows):
            axes = panels[row, column]
            x, y, labels = (measurement.arrays.get(f"{what}_{part}", []) for part in ("reference", "model", group))
            for index, name in enumerate(sorted(set(labels))):
                mine = [i for i, label in enumerate(labels) if label == name]
                marker = MARKERS[(index + index // len(COLORS)) % len(MARKERS)]  # the ninth is not as the first
                axes.plot([x[i] for i in mine], [y[i] for i in mine], marker, ms=3, alpha=0.6,
                          color=COLORS[index % len(COLORS)], label=name)  # fmt: skip
            _square(axes, x, y)
            axes.set_title(f"{measurement.calculator}\n{_errors(measurement, what)}", fontsize=9)
            axes.set_xlabel(f"{view.reference_name} {what} ({unit})")
            axes.set_ylabel(f"model {what} ({unit})")
            axes.legend(frameon=False, fontsize=8)


def _has_stress(view: FigureView) -> bool:
    return any("stress_model" in measurement.arrays for measurement, _ in view.curves)


def _square(axes: Axes, x: list[float], y: list[float]) -> None:
    """The same range on both axes, and the diagonal on which model and reference agree."""
    low, high = min([*x, *y], default=0.0), max([*x, *y], default=1.0)
    margin = 0.05 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.set_aspect("equal")
    axes.axline((0.0, 0.0), slope=1.0, color="black", linewidth=0.8, zorder=0)


def _errors(measurement: Measurement, what: str) -> str:
    """Mean and root mean square error, for the head of a panel, and what they stand on if something was left out."""
    found = [measurement.values.get(f"{what}_{metric}") for metric in ("mae", "rmse")]
    errors = [
        f"{name} {number(value.value, value.unit)} {value.unit}"
        for name, value in zip(("MAE", "RMSE"), found, strict=True)
        if value is not None and value.value is not None
    ]
    samples = found[0].samples if found[0] else None
    on = "" if samples is None or samples.complete else f"\n{samples.used:,} of {samples.of:,} {samples.what}"
    return ", ".join(errors) + on


PARITY = Drawing(_parity, lambda calculators: (max(4.4 * calculators, 4.8), 8.8), needs_a_model=True)
