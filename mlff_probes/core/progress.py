"""Progress of a long measurement, told step by step."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str], None]
"""Called after each step with where a relaxation stands."""


Paced = Callable[[float], None]
"""Called once a simulation is under way, with the seconds that one call of its model takes, all of a step included."""


def silent(_: str) -> None:
    """A report that nobody reads."""


def unheard(_: float) -> None:
    """Nobody asks what a call takes."""
