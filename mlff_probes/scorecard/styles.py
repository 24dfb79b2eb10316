"""Colours and markers that a calculator keeps in all figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from matplotlib import style

from mlff_probes.records import Measurement
from mlff_probes.scorecard.model import CaseSummary, Scorecard

REFERENCE_COLOR = "black"
COLORS = ("#d55e00", "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#8c564b", "#7f7f7f")
"""Those of Okabe and Ito (jfly.uni-koeln.de/color) but for black and yellow, which colour-blind people can tell apart
too, and two more."""

MARKERS = "ovsD^<>P"
REFERENCE: dict[str, Any] = {"color": REFERENCE_COLOR, "linewidth": 1.0, "marker": "o", "markersize": 3.5}
"""Thin and small, so that the curve of a calculator that is right shows behind it."""

THINNEST, STEP, MOST_WIDER = 1.8, 1.2, 4.2
"""Line widths, points: of the last curve, how much wider each earlier one is, and the first at most."""

LEGEND_WIDTH = 72
"""Letters of a legend that fit over the axes of a single picture."""


def own_settings(more: Mapping[str, Any] | None = None) -> AbstractContextManager[None]:
    """Matplotlib as it comes, and `more`: a library that a calculator imports may set what it likes for all figures.

    Texts are shown as they are: labels and titles are the user's, and a $ in them begins no formula.
    """
    return style.context(["default", {"text.parse_math": False, **(more or {})}])


def legend_columns(labels: Iterable[str]) -> int:
    """How many entries of a legend over the axes stand beside each other; at most three."""
    return max(1, min(3, LEGEND_WIDTH // max(map(len, labels))))


def curves(card: Scorecard, case: CaseSummary) -> list[tuple[Measurement, dict[str, Any]]]:
    """What was measured for `case`, with a colour and a marker that a calculator keeps in all figures.

    Lines become thinner and open markers smaller from one to the next: of curves that coincide each shows beside the
    ones drawn over it.
    """
    measured = [
        (index, measurement)
        for index, identity in enumerate(card.calculators)
        if (measurement := card.measurement(identity.label, case.id)) is not None and measurement.arrays
    ]
    step = min(STEP, MOST_WIDER / max(len(measured) - 1, 1))
    found = []
    for left, (index, measurement) in zip(range(len(measured) - 1, -1, -1), measured, strict=True):
        style = {
            "color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)], "linestyle": "-",
            "linewidth": THINNEST + step * left, "markersize": 5.0 + 1.5 * step * left, "markerfacecolor": "none",
        }  # fmt: skip
        found.append((measurement, style))
    return found
