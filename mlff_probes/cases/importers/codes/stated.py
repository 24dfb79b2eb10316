"""The settings that an output states, in words that are the same for all codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NONE = "none"


@dataclass(frozen=True)
class Settings:
    """How something was computed, as far as an output says it.

    Attributes
    ----------
    code, version
        ``VASP``, ``6.4.2``; empty where they are not said.
    functional
        As levels of theory are called: ``PBE``, ``r2SCAN``, ``HSE06``; empty where it is not said or has no name.
    hubbard_u
        Which U (eV) acts on what: ``{"Fe d": "5.3"}``.
    dispersion
        What is added to the functional: ``D3(BJ)``; empty where there is none.
    unnamed
        What changes the functional in a way that no level of theory names, in words: then there is no level.
    details
        All else that makes energies comparable, by the name that the code gives it.
    """

    code: str = ""
    version: str = ""
    functional: str = ""
    hubbard_u: Mapping[str, str] = field(default_factory=dict)
    dispersion: str = ""
    unnamed: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """The level of theory: ``PBE``, ``PBE+U``, ``PBE+D3(BJ)``; empty where it cannot be told."""
        if not self.functional or self.unnamed:
            return ""
        return "+".join(filter(None, [self.functional, "U" if self.hubbard_u else "", self.dispersion]))

    @property
    def of_level(self) -> dict[str, str]:
        """What decides the level of theory, by name."""
        said = {
            "functional": " ".join(filter(None, [self.functional, self.unnamed])),
            "U (eV)": ", ".join(f"{where} {u}" for where, u in sorted(self.hubbard_u.items())) or NONE,
            "dispersion": self.dispersion or NONE,
        }
        return said if self.functional or self.unnamed else {}

    @property
    def compared(self) -> dict[str, str]:
        """All that must be the same where energies are compared, by name; the version of a code need not be."""
        return {**({"code": self.code} if self.code else {}), **self.of_level, **self.details}

    def __str__(self) -> str:
        """One line for a reader: ``VASP 6.4.2, PBEsol, ENCUT 680 eV, k-points 2 2 2``."""
        code = " ".join(filter(None, [self.code, self.version]))
        level = self.level or " ".join(filter(None, [self.functional, self.unnamed]))
        us = (
            f"U of {', '.join(f'{where} {u} eV' for where, u in sorted(self.hubbard_u.items()))}"
            if self.hubbard_u
            else ""
        )
        return ", ".join(
            filter(None, [code, level, us, *(_in_words(name, text) for name, text in self.details.items())])
        )


def _in_words(name: str, text: str) -> str:
    number = text.removesuffix(" points")
    return f"{name} {text}" if number == text else f"{number} {name.removesuffix('s') if number == '1' else name}"


def plain(text: str) -> str:
    """A number to five digits, so that ``0.20000000`` and ``0.2`` are the same; other text as it is."""
    try:
        return f"{float(text):.5g}"
    except ValueError:
        return text.strip()
