"""Pictures of a scorecard: DFT against the model along each path and each slide."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from matplotlib.figure import Figure, SubFigure

from mlff_probes.core.case import Case
from mlff_probes.core.errors import describe
from mlff_probes.core.view import Curve, FigureView, Row
from mlff_probes.measure import BY_KIND
from mlff_probes.measure.kind import Drawing
from mlff_probes.measure.styles import CORRECTED, legend_room, own_settings, styled
from mlff_probes.scorecard.model import CaseSummary, Scorecard
from mlff_probes.scorecard.ranks import compared
from mlff_probes.scorecard.reports import barriers

DPI = 130
BARRIER_ERRORS = "barrier-errors"
"""Name of the picture of all barriers; a hyphen, so that no case is called so."""

PICTURES = (".png", ".pdf", ".svg")
"""Suffixes of a picture that a user may ask for."""
MOST_COLUMNS = 2
MOST_STRUCTURES = 4
STRUCTURES_SIZE = (9.6, 4.4)
"""Structures of a case without a curve of its reference that are drawn, and the size of that picture in inches."""

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


def draw_reference(case: Case) -> Picture:
    """One picture of a case without any calculator: the curves of its reference, or else structures of it."""
    summary = CaseSummary.of(case)
    expected = tuple(Row("", quantity, case.expectation(quantity)) for quantity in case.quantities)
    alone = BY_KIND[case.protocol.kind].alone
    trajectory = alone(case) if alone else None
    view = FigureView(
        protocol=summary.protocol, level_of_theory=case.level_of_theory, reference=summary.reference_arrays,
        reference_diagnostics=summary.reference_diagnostics, rows=expected,
        curves=styled([(0, trajectory)] if trajectory else []),
    )  # fmt: skip
    drawing = _drawing(summary)
    drawn = drawing is not None and _has_anything(view, drawing)
    with own_settings():
        size = drawing.size(1) if drawing is not None and drawn else STRUCTURES_SIZE
        picture = Picture(figsize=size, layout="constrained")
        (part,) = picture.subfigures(1, 1, squeeze=False)[0]
        part.suptitle(textwrap.fill(case.title, int(TITLE_LETTERS * size[0])), fontsize=10)
        if drawing is not None and drawn:
            drawing.draw(part, view)
        else:
            _draw_structures(part, case.frames)
    return picture


def _draw_structures(figure: SubFigure, frames: Sequence[Atoms]) -> None:
    """The first and the last structure and some between them, from the side."""
    from ase.visualize.plot import plot_atoms

    chosen = sorted({round(place) for place in np.linspace(0, len(frames) - 1, MOST_STRUCTURES)}) if frames else []
    for axes, index in zip(figure.subplots(1, max(len(chosen), 1), squeeze=False)[0], chosen or [0], strict=True):
        axes.set_axis_off()
        if chosen:
            plot_atoms(frames[index], axes, rotation="-90x")
            name = f"u = {frames[index].info['slide']:.3g}" if "slide" in frames[index].info else index
            axes.set_title(f"{name}: {frames[index].get_chemical_formula()}", fontsize=8)


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
        curves=(*styled(measured), *_corrected(case)),
        rows=tuple(Row(row.calculator, row.quantity, row.expectation) for row in card.results if row.case == case.id),
    )


def _corrected(case: CaseSummary) -> tuple[Curve, ...]:
    """The curves of the reference at further levels of theory, where a picture has a curve of the reference."""
    drawing = _drawing(case)
    if drawing is None or drawing.needs_a_model:
        return ()
    return tuple(Curve(reference, CORRECTED) for reference in case.corrected)


def _drawing(case: CaseSummary) -> Drawing | None:
    kind = BY_KIND.get(case.kind)
    return None if kind is None else kind.drawing


def _has_anything(view: FigureView, drawing: Drawing) -> bool:
    """Whether there is a curve to draw; some plots need a model, of the others the reference is worth a picture."""
    return bool(view.curves or (view.reference and not drawing.needs_a_model))
