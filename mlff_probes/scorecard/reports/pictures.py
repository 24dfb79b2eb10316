"""All pictures of a page as SVG."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mlff_probes.core.errors import describe
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.ranks import compared

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawn(NamedTuple):
    """The `svg` elements by case id or `figures.BARRIER_ERRORS`, and the reason for each that could not be drawn."""

    pictures: dict[str, str]
    problems: dict[str, str]


class Wanted(NamedTuple):
    """One picture: its name, the text for readers who do not see it, and the function that draws it."""

    name: str
    label: str
    draw: Callable[[], Figure | None]


def draw_all(card: Scorecard) -> Drawn:
    """The pictures of all cases, and of all barriers of several calculators; one that fails costs no other."""
    from mlff_probes.scorecard.reports.inline_svg import inline

    drawn = Drawn({}, {})
    with _without_collections():
        for place, (name, label, draw) in enumerate(_wanted(card)):
            try:
                picture = draw()
                if picture is not None:
                    drawn.pictures[name] = inline(picture, label, f"f{place}")
            except Exception as error:  # whatever a drawing library makes of odd numbers
                drawn.problems[name] = describe(error)
    return drawn


def _wanted(card: Scorecard) -> list[Wanted]:
    from mlff_probes.scorecard.reports.figures import BARRIER_ERRORS, draw_barriers, draw_cases

    found = [
        Wanted(case.id, f"Picture of {case.id}: {case.title}", partial(draw_cases, card, [case])) for case in card.cases
    ]
    barriers = Wanted(BARRIER_ERRORS, "Errors of all barriers", partial(draw_barriers, card))
    return [*found, *([barriers] if compared(card) else [])]


@contextmanager
def _without_collections() -> Iterator[None]:
    """Draw many figures without a search for garbage meanwhile, which would take a tenth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
