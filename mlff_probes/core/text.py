"""Texts as they can be shown."""

from __future__ import annotations

CONTROLS = dict.fromkeys(
    [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)], "\ufffd"
)
"""Codes that a terminal obeys, that end a line, or that turn the direction of what follows, each shown as �; all but
tab and line feed."""


def duration(seconds: float) -> str:
    """About how long: ``40 s``, ``12 min``, ``3.4 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def visible(text: str) -> str:
    """`text` as it can be shown: names and messages come from files and models, and must move no cursor."""
    return text.translate(CONTROLS)
