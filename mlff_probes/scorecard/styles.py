"""Colours and markers that a calculator keeps in all figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from matplotlib import style

from mlff_probes.records import Measurement
from mlff_probes.scorecard.model import CaseSummary, Scorecard

REFERENCE_COLOR = "black"
COLORS = ("tab:red", "tab:blue", "tab:green", "tab:orange", "tab:purple", "tab:brown", "tab:pink", "tab:cyan")
MARKERS = "ovsD^<>P"

LEGEND_WIDTH = 72
"""Letters of a legend that fit over the axes of a single picture."""


def own_settings(more: Mapping[str, Any] | None = None) -> AbstractContextManager[None]:
    """Matplotlib as it comes, and `more`: a library that a calculator imports may set what it likes for all figures."""
    return style.context(["default", dict(more or {})])


def legend_columns(labels: Iterable[str]) -> int:
    """How many entries of a legend over the axes stand beside each other; at most three."""
    return max(1, min(3, LEGEND_WIDTH // max(map(len, labels))))


def curves(card: Scorecard, case: CaseSummary) -> list[tuple[Measurement, dict[str, Any]]]:
    """What was measured for `case`, with a colour and a marker that a calculator keeps in all figures."""
    found = []
    for index, identity in enumerate(card.calculators):
        measurement = card.measurement(identity.label, case.id)
        if measurement is not None and measurement.arrays:
            style = {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)], "linestyle": "--"}
            found.append((measurement, style))
    return found
