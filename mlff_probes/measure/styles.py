"""Colours and markers that a calculator keeps in all figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from mlff_probes.core.records import Measurement
from mlff_probes.core.view import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFERENCE_COLOR = "black"
COLORS = ("#d55e00", "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#8c564b", "#7f7f7f")
"""Colours that colour-blind people can tell apart: those of Okabe and Ito (jfly.uni-koeln.de/color) without black and
yellow, and two more."""

MARKERS = "ovsD^<>P"
REFERENCE: dict[str, Any] = {"color": REFERENCE_COLOR, "linewidth": 1.0, "marker": "o", "markersize": 3.5}
"""Thin and small, so that the curve of a calculator that is right shows behind it."""

CORRECTED: dict[str, Any] = {**REFERENCE, "linestyle": "--", "markerfacecolor": "white", "zorder": 3}
"""The reference at another level of theory, beside that of the case."""

THINNEST, STEP, MOST_WIDER = 1.8, 1.2, 4.2
"""Line widths, points: of the last curve, how much wider each earlier one is, and the first at most."""

LEGEND_WIDTH = 72
"""Letters of a legend that fit over the axes of a single picture."""


HOVER = "says "
"""Before the text of a point, as the name of its artist: a page shows it where one points at it."""

MOST_INSIDE = 2
"""Calculators whose legend finds room beside the curves."""


def own_settings(more: Mapping[str, Any] | None = None) -> AbstractContextManager[None]:
    """Matplotlib as it comes, and `more`: a library that a calculator imports may set what it likes for all figures.

    Texts are shown as they are: labels and titles are the user's, and a $ in them begins no formula.
    """
    from matplotlib import style

    return style.context(["default", {"text.parse_math": False, **(more or {})}])


def legend_columns(labels: Iterable[str]) -> int:
    """How many entries of a legend over the axes stand beside each other; at most three."""
    return max(1, min(3, LEGEND_WIDTH // max(map(len, labels))))


def styled(measured: Iterable[tuple[int, Measurement]]) -> tuple[Curve, ...]:
    """Measurements by the place of their calculator in the run, each with a colour and a marker of that place.

    Lines become thinner and open markers smaller from one to the next: of curves that coincide each shows beside the
    ones drawn over it.
    """
    entries = list(measured)
    step = min(STEP, MOST_WIDER / max(len(entries) - 1, 1))
    found = []
    for left, (index, measurement) in zip(range(len(entries) - 1, -1, -1), entries, strict=True):
        style = {
            "color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)], "linestyle": "-",
            "linewidth": THINNEST + step * left, "markersize": 5.0 + 1.5 * step * left, "markerfacecolor": "none",
        }  # fmt: skip
        found.append(Curve(measurement, style))
    return tuple(found)


def legend(axes: Axes, calculators: int, *, above: float = 1.0) -> None:
    """A legend in the axes, or over them where so many entries would hide the curves."""
    if calculators <= MOST_INSIDE:
        axes.legend(frameon=False)
        return
    columns = legend_columns(axes.get_legend_handles_labels()[1])
    axes.legend(frameon=False, fontsize=8, ncols=columns, loc="lower center", bbox_to_anchor=(0.5, above))


def legend_room(calculators: int) -> float:
    """Inches that a legend over the axes needs."""
    return 0.1 * (calculators + 2) if calculators > MOST_INSIDE else 0.0
