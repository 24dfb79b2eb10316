"""The picture of all barriers: how far each calculator is from the reference, path by path."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mlff_probes.core.records import ProbeResult, State
from mlff_probes.measure.styles import COLORS, MARKERS, REFERENCE_COLOR, legend_columns
from mlff_probes.scorecard.model import Scorecard

FAMILY, QUANTITY = "migration", "barrier"
GROUP = 0.8
"""Width of the bars of one path, where the next begins after 1."""

MOST_OF_REASON = 30
"""Letters that are shown of why there is no barrier."""

ROOM_FOR_REASON = 0.75
"""Height above zero that they need, as a part of what is below it."""


def draw(axes: Axes, card: Scorecard) -> bool:
    """Draw bars of the errors of the barrier, a group a path, a bar a calculator; whether there is any to draw.

    The tolerance is a band behind each group. A bar ends in the marker of its calculator. Where a barrier that should
    be there is missing, the first words of the reason stand in the place of the bar; a bar is hollow where the
    reference is of another level of theory.
    """
    rows = [r for r in card.results if (r.family, r.quantity) == (FAMILY, QUANTITY) and r.expectation]
    paths = list(dict.fromkeys(row.case for row in rows))
    labels = [identity.label for identity in card.calculators]
    for place, path in enumerate(paths):
        tolerances = [r.expectation.tolerance.value for r in rows if r.case == path and r.expectation]
        axes.fill_between((place - 0.5, place + 0.5), -max(tolerances), max(tolerances), color="0.9", linewidth=0,
                          zorder=0)  # fmt: skip
    for row in rows:
        index = labels.index(row.calculator)
        width = GROUP / len(labels)
        _bar(axes, row, paths.index(row.case) + (index + 0.5) * width - GROUP / 2, width, _style(index))
    low, high = axes.get_ylim()
    if any(_height(row) is None for row in rows):
        axes.set_ylim(low, max(high, -ROOM_FOR_REASON * low))
    axes.axhline(0.0, color=REFERENCE_COLOR, linewidth=1.0)
    for edge in range(1, len(paths)):
        axes.axvline(edge - 0.5, color="white", linewidth=3.0, zorder=1)
    axes.set_xlim(-0.5, max(len(paths), 1) - 0.5)
    axes.set_xticks(range(len(paths)), ["\n".join(textwrap.wrap(path.replace("_", " "), 14)) for path in paths])
    axes.tick_params(axis="x", length=0, labelsize=8)
    axes.set_ylabel("barrier, model minus reference (eV)")
    entries: list[Artist] = [
        Line2D([], [], linewidth=6.0, label=label, **_style(index)) for index, label in enumerate(labels)
    ]
    entries.append(Patch(color="0.9", label="tolerance"))
    axes.legend(handles=entries, frameon=False, fontsize=8, ncols=legend_columns(labels), loc="lower left",
                bbox_to_anchor=(0.0, 1.0))  # fmt: skip
    return bool(rows)


def _height(row: ProbeResult) -> float | None:
    """The height of its bar; none for an error, also not for one with a number that is not known well enough."""
    return None if row.verdict.state is State.ERROR else row.verdict.deviation


def _style(index: int) -> dict[str, Any]:
    """Colour and marker of a calculator, for lines."""
    return {
        "color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)], "markersize": 6.0,
        "markerfacecolor": "white", "markeredgecolor": REFERENCE_COLOR, "markeredgewidth": 0.8,
    }  # fmt: skip


def _bar(axes: Axes, row: ProbeResult, x: float, width: float, style: dict[str, Any]) -> None:
    height, color = _height(row), style["color"]
    if height is not None:
        filling = "none" if row.verdict.state is State.NOT_COMPARABLE else color
        axes.bar(x, height, 0.9 * width, facecolor=filling, edgecolor=color, zorder=2)
        axes.plot(x, height, zorder=3, **style)
        return
    why = textwrap.shorten(row.verdict.reason or row.verdict.state.value, MOST_OF_REASON, placeholder="…")
    axes.plot(x, 0.0, "x", color=color, zorder=3)
    axes.annotate(why, (x, 0.0), (0, 6), textcoords="offset points", rotation=90, fontsize=6.5,
                  ha="center", va="bottom", color=color, zorder=3)  # fmt: skip
