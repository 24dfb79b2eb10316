"""Progress of a long measurement, told step by step."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str], None]
"""Called after each step with where a relaxation stands."""


def silent(_: str) -> None:
    """A report that nobody reads."""
