"""Levels of theory by their names: one spelling for each that is known, and what a mixture is for a structure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cache
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, StringConstraints

MIXED = "MP"
"""What models of the Materials Project's data learned: PBE, and PBE+U for some structures; see `of_structure`."""

FUNCTIONALS: dict[str, tuple[str, ...]] = {
    "LDA": ("lsda", "dft+lda"),
    "PBE": ("gga+pbe", "pbe+gga", "pbe(gga)", "gga(pbe)", "dft+pbe", "pbe96"),
    "PBEsol": ("pbe+sol", "gga+pbesol", "dft+pbesol"),
    "revPBE": ("rev+pbe", "gga+revpbe", "dft+revpbe"),
    "RPBE": ("gga+rpbe", "dft+rpbe"),
    "PW91": ("gga+pw91", "dft+pw91"),
    "AM05": (),
    "BLYP": ("b+lyp",),
    "SCAN": ("dft+scan", "metagga+scan", "meta+gga+scan"),
    "rSCAN": ("r+scan",),
    "r2SCAN": ("r2+scan", "r^2scan", "dft+r2scan", "metagga+r2scan", "meta+gga+r2scan"),
    "TPSS": (),
    "revTPSS": ("rev+tpss",),
    "M06-L": ("m06l",),
    "B3LYP": ("b3+lyp",),
    "PBE0": (),
    "HSE03": ("hse+03",),
    "HSE06": ("hse+06",),
    "BEEF-vdW": (),
    "optB88-vdW": (),
    "optB86b-vdW": (),
    "optPBE-vdW": (),
    "vdW-DF": ("vdwdf",),
    "vdW-DF2": ("vdwdf2",),
    "vdW-DF-cx": ("vdwdf+cx",),
    "wB97X": (),
    "wB97X-D": ("wb97xd",),
    "wB97X-D3": (),
    "wB97X-D3(BJ)": ("wb97x+d3bj", "wb97x+d3+bj"),
    "wB97X-V": ("wb97xv",),
    "wB97M": (),
    "wB97M-D3(BJ)": ("wb97m+d3bj", "wb97m+d3+bj"),
    "wB97M-V": ("wb97mv",),
    "GFN1-xTB": ("gfn1",),
    "GFN2-xTB": ("gfn2",),
    MIXED: ("materials+project", "mptrj", "pbe+pbe+u", "gga+gga+u"),
}
"""Functionals and methods that are known, with their other names; of all of these the spelling is that of `_key`."""

HUBBARD = "U"

DISPERSION: dict[str, tuple[str, ...]] = {
    "D2": ("dft+d2", "dftd2", "grimme+d2"),
    "D3": ("dft+d3", "dftd3", "grimme+d3"),
    "D3(0)": ("d3zero", "d3+zero", "d3(zero)", "dft+d3(0)", "dftd3(0)", "dft+d3(zero)", "dftd3zero"),
    "D3(BJ)": ("d3bj", "d3+bj", "dft+d3(bj)", "dftd3(bj)", "dft+d3bj", "dftd3bj"),
    "D3M(0)": ("d3mzero", "d3m+zero", "d3m(zero)"),
    "D3M(BJ)": ("d3mbj", "d3m+bj"),
    "D4": ("dft+d4", "dftd4"),
    "TS": (),
    "MBD": (),
    "rVV10": (),
}
"""Terms of dispersion. `D3` alone does not say its damping, and is another level than either that does."""

HUBBARD_METALS = frozenset({"Co", "Cr", "Fe", "Mn", "Mo", "Ni", "V", "W"})
"""Elements to which the Materials Project adds U, in structures that hold one of `HUBBARD_ANIONS`: MPRelaxSet of
pymatgen; A. Jain et al., Phys. Rev. B 84, 045115 (2011)."""

HUBBARD_ANIONS = frozenset({"O", "F"})


class Parts(NamedTuple):
    """A known level: its functional, whether U is added, and the term of dispersion; empty where there is none."""

    functional: str
    hubbard: bool = False
    dispersion: str = ""

    def __str__(self) -> str:
        return "+".join(filter(None, [self.functional, HUBBARD if self.hubbard else "", self.dispersion]))


def _key(text: str) -> str:
    """A name in the spelling that is compared: small letters, `+` between its parts."""
    plain = text.strip().casefold().replace("ω", "w").replace("²", "2")
    return re.sub(r"\+?\(", "(", re.sub(r"[\s_+/–-]+", "+", plain))


@cache
def _by_key() -> tuple[dict[str, str], dict[str, str]]:
    """Functionals and terms by their keys, the longest first."""
    tables = (FUNCTIONALS, {HUBBARD: (), **DISPERSION})
    named = ({key: name for name, others in table.items() for key in (_key(name), *others)} for table in tables)
    functionals, terms = (dict(sorted(table.items(), key=lambda row: -len(row[0]))) for table in named)
    return functionals, terms


@cache
def parts_of(level: str) -> Parts | None:
    """What a level consists of: a known functional, U at most once, one term of dispersion at most; None for others."""
    functionals, terms = _by_key()
    key = _key(level)
    begin = next((each for each in functionals if key == each or key.startswith(f"{each}+")), None)
    if begin is None:
        return None
    rest, found = key[len(begin) :].removeprefix("+"), list[str]()
    while rest:
        term = next((each for each in terms if rest == each or rest.startswith(f"{each}+")), None)
        if term is None:
            return None
        found.append(terms[term])
        rest = rest[len(term) :].removeprefix("+")
    hubbard, dispersion = found.count(HUBBARD), [term for term in found if term != HUBBARD]
    if hubbard > 1 or len(dispersion) > 1 or (hubbard and functionals[begin] == MIXED):
        return None
    return Parts(functionals[begin], bool(hubbard), "".join(dispersion))


def level_name(level: str) -> str:
    """The one name of a level of theory: ``PBE+D3(BJ)`` for ``pbe-d3bj``; a level that is not known stays as it is."""
    parts = parts_of(level)
    return level if parts is None else str(parts)


LevelName = Annotated[str, AfterValidator(level_name)]
"""A level of theory under its one name."""

Level = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True), AfterValidator(level_name)]
"""A level of theory that somebody has to state, under its one name."""


def same_level(one: str, other: str) -> bool:
    """Whether two names are of one level; of two that are not known, whether they are written alike."""
    return level_name(one).casefold() == level_name(other).casefold()


def is_mixed(level: str) -> bool:
    """Whether what a level is depends on the structure."""
    parts = parts_of(level)
    return parts is not None and parts.functional == MIXED


def of_structure(level: str, elements: Collection[str]) -> str:
    """What a level is for a structure that holds some elements: ``MP`` is ``PBE+U`` in LiFePO4, ``PBE`` in Sb2Te3.

    The Materials Project adds U to Co, Cr, Fe, Mn, Mo, Ni, V and W in whatever holds O or F, and to nothing else.
    """
    parts = parts_of(level)
    if parts is None or parts.functional != MIXED:
        return level_name(level)
    hubbard = not HUBBARD_METALS.isdisjoint(elements) and not HUBBARD_ANIONS.isdisjoint(elements)
    return str(Parts("PBE", hubbard, parts.dispersion))


def of_structures(level: str, structures: Iterable[Collection[str]]) -> str:
    """What a level is for some structures, given by the elements of each: ``PBE``, or ``PBE and PBE+U``.

    Of none it is its name.
    """
    return " and ".join(sorted({of_structure(level, elements) for elements in structures})) or level_name(level)


def agree(one: str, other: str, structures: Iterable[Collection[str]]) -> bool:
    """Whether two levels are the same for each of some structures, given by the elements of each.

    Where there is no structure, a mixture is only what is called so.
    """
    pairs = [(of_structure(one, elements), of_structure(other, elements)) for elements in structures]
    return all(same_level(*pair) for pair in pairs or [(one, other)])
