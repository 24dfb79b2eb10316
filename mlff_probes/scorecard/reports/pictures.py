"""All pictures of a page as SVG, drawn by this process and, where there are many, by a second one beside it."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, NamedTuple

from mlff_probes.core.errors import describe
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.ranks import compared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 12
"""From so many pictures on, a second process pays for its start."""


class Drawn(NamedTuple):
    """The `svg` elements by case id, or `figures.BARRIER_ERRORS`, and why others could not be drawn, by the same."""

    pictures: dict[str, str]
    problems: dict[str, str]


class Wanted(NamedTuple):
    """One picture: under which name, for whom who does not see it, and how it is drawn."""

    name: str
    label: str
    draw: Callable[[], Figure | None]


def draw_all(card: Scorecard) -> Drawn:
    """The pictures of all cases, and of all barriers of several calculators; one that fails costs no other."""
    places = range(len(_wanted(card)))
    if len(places) < MANY or (os.cpu_count() or 1) < 2:
        return _draw(card, places)
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as answer:
        helper = _start(card, given, answer)
        mine = _draw(card, places[::2])
        other = _answer(helper, answer) or _draw(card, places[1::2])
    return Drawn(mine.pictures | other.pictures, mine.problems | other.problems)


def _wanted(card: Scorecard) -> list[Wanted]:
    from mlff_probes.scorecard.reports.figures import BARRIER_ERRORS, draw_barriers, draw_cases

    found = [
        Wanted(case.id, f"Picture of {case.id}: {case.title}", partial(draw_cases, card, [case])) for case in card.cases
    ]
    barriers = Wanted(BARRIER_ERRORS, "Errors of all barriers", partial(draw_barriers, card))
    return [*found, *([barriers] if compared(card) else [])]


def _draw(card: Scorecard, places: Sequence[int]) -> Drawn:
    from mlff_probes.scorecard.reports.inline_svg import inline

    drawn, wanted = Drawn({}, {}), _wanted(card)
    with _without_collections():
        for place in places:
            name, label, draw = wanted[place]
            try:
                picture = draw()
                if picture is not None:
                    drawn.pictures[name] = inline(picture, label, f"f{place}")
            except Exception as error:  # whatever a drawing library makes of odd numbers
                drawn.problems[name] = describe(error)
    return drawn


def _start(card: Scorecard, given: IO[bytes], answer: IO[bytes]) -> subprocess.Popen[bytes] | None:
    """A process that draws every other picture; None where there can be none."""
    given.write(card.model_dump_json().encode())
    given.seek(0)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-m", "mlff_probes.scorecard.reports.pictures"]
    try:
        return subprocess.Popen(command, stdin=given, stdout=answer, stderr=subprocess.DEVNULL, env=environment)
    except OSError:  # no interpreter of its own, or no process to be had: this one draws everything
        return None


def _answer(helper: subprocess.Popen[bytes] | None, answer: IO[bytes]) -> Drawn | None:
    if helper is None or helper.wait() != 0:
        return None
    answer.seek(0)
    return Drawn(*json.load(answer))


def _help() -> None:
    """Draw every other picture of the scorecard on standard input."""
    card = Scorecard.model_validate_json(sys.stdin.buffer.read())
    drawn = json.dumps(_draw(card, range(1, len(_wanted(card)), 2)))
    sys.stdout.buffer.write(drawn.encode())


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


if __name__ == "__main__":
    _help()
