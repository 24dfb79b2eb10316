"""Texts as they can be shown."""

from __future__ import annotations

CONTROLS = dict.fromkeys(
    [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)], "\ufffd"
)
"""Codes that a terminal obeys, that end a line, or that turn the direction of what follows, each shown as �; all but
tab and line feed."""


def visible(text: str) -> str:
    """`text` as it can be shown: names and messages come from files and models, and must move no cursor."""
    return text.translate(CONTROLS)
