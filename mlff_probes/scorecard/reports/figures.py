"""Pictures of a scorecard: DFT against the model along each path and each slide."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from mlff_probes.core.errors import describe
from mlff_probes.core.view import FigureView, Row
from mlff_probes.measure import BY_KIND
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.styles import legend_room, own_settings, styled
from mlff_probes.scorecard.model import CaseSummary, Scorecard
from mlff_probes.scorecard.ranks import compared
from mlff_probes.scorecard.reports import barriers

DPI = 130
BARRIER_ERRORS = "barrier-errors"
"""Name of the picture of all barriers; a hyphen, so that no case is called so."""

PICTURES = (".png", ".pdf", ".svg")
"""Suffixes of a picture that a user may ask for."""
MOST_COLUMNS = 2
TITLE_LETTERS = 11.5
"""Letters of a title in an inch. Matplotlib, which could wrap it, would measure what is between two $ as a formula."""


class Picture(Figure):
    """A figure that a notebook shows when a cell ends in it, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        with own_settings():
            self.savefig(out, format="png", dpi=DPI)
        return out.getvalue()


def draw_cases(card: Scorecard, cases: Sequence[CaseSummary]) -> Picture | None:
    """One picture of some cases with all calculators of the run; None where there is nothing to draw."""
    drawn = [(case.title, drawing, view) for case in cases if (drawing := _drawing(case))
             and _has_anything(view := view_of(card, case), drawing)]  # fmt: skip
    if not drawn:
        return None
    columns = min(len(drawn), MOST_COLUMNS)
    lines = -(-len(drawn) // columns)
    sizes = [drawing.size(len(view.curves)) for _, drawing, view in drawn]
    width, height = (max(side) for side in zip(*sizes, strict=True))
    with own_settings():
        picture = Picture(figsize=(width * columns, height * lines), layout="constrained")
        parts = picture.subfigures(lines, columns, squeeze=False).ravel()
        for part, (title, drawing, view) in zip(parts, drawn, strict=False):
            part.suptitle(textwrap.fill(title, int(TITLE_LETTERS * width)), fontsize=10)
            drawing.draw(part, view)
    return picture


def draw_barriers(card: Scorecard) -> Picture | None:
    """One picture of the errors of all barriers; None where there is none to compare."""
    paths = len({row.case for row in card.results if row.expectation and row.quantity == barriers.QUANTITY})
    calculators = len(card.calculators)
    size = max(6.4, (0.5 + 0.15 * calculators) * paths), 4.4 + legend_room(calculators)
    with own_settings():
        picture = Picture(figsize=size, layout="constrained")
        drawn = barriers.draw(picture.subplots(), card)
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


def view_of(card: Scorecard, case: CaseSummary) -> FigureView:
    """What a figure of `case` is given to draw."""
    measured = [
        (place, measurement)
        for place, identity in enumerate(card.calculators)
        if (measurement := card.measurement(identity.label, case.id)) is not None and measurement.arrays
    ]
    return FigureView(
        protocol=case.protocol,
        level_of_theory=case.level_of_theory,
        reference=case.reference_arrays,
        reference_diagnostics=case.reference_diagnostics,
        curves=styled(measured),
        rows=tuple(Row(row.calculator, row.quantity, row.expectation) for row in card.results if row.case == case.id),
    )


def _drawing(case: CaseSummary) -> Drawing | None:
    kind = BY_KIND.get(case.kind)
    return None if kind is None else kind.drawing


def _has_anything(view: FigureView, drawing: Drawing) -> bool:
    """Whether there is a curve to draw; some plots need a model, of the others the reference is worth a picture."""
    return bool(view.curves or (view.reference and not drawing.needs_a_model))
