"""Dispersion as a term that is added to energies, forces and stresses: D3 of Grimme et al., by the library `dftd3`.

The term is that of pairs alone, without the three-body term of Axilrod, Teller and Muto, as VASP and CP2K have it by
default. Parameters of each functional and cutoffs are those of the library.
S. Grimme et al., J. Chem. Phys. 132, 154104 (2010); J. Comput. Chem. 32, 1456 (2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ase import Atoms as Molecule
from ase.calculators.mixing import SumCalculator

from mlff_probes.calculators.base import BatchFunction, Calculator, CalculatorRequest
from mlff_probes.calculators.calc_file import ADDED
from mlff_probes.calculators.identity import versions
from mlff_probes.calculators.tree import has_dispersion
from mlff_probes.core.errors import InputError
from mlff_probes.core.levels import Parts, of_structure, parts_of

if TYPE_CHECKING:
    from ase import Atoms

PACKAGE = "dftd3"
INSTALL = "pip install 'path/to/mlff-probes[dispersion]'"

KEYS = dict(zip(ADDED, ("D3(BJ)", "D3(0)"), strict=True))
"""What `,dispersion=` may be, which is what the library calls it, and the term that it adds to a level of theory."""


def term(functional: str, dispersion: str) -> Any:
    """The ASE calculator of a term of dispersion.

    Parameters
    ----------
    functional
        Whose parameters it has: ``PBE``.
    dispersion
        ``D3(BJ)`` or ``D3(0)``.

    Raises
    ------
    InputError
        If the library is not installed, or knows no such parameters.
    """
    damping = next((key for key, name in KEYS.items() if name == dispersion), None)
    if damping is None:
        raise InputError("", f"{dispersion} is no term that is added here", f"those are {' and '.join(KEYS.values())}")
    try:
        from dftd3.ase import DFTD3
    except ImportError as error:
        problem = f"{dispersion} is added by the package '{PACKAGE}', which is not installed"
        raise InputError("", problem, INSTALL) from error
    found: Any = DFTD3(method=functional.lower(), damping=damping)
    try:
        found.get_potential_energy(Molecule("H2", positions=[[0, 0, 0], [0, 0, 0.74]]))
    except Exception as error:
        raise InputError("", f"{library()} has no parameters of {functional} for {dispersion}") from error
    return found


@cache
def library() -> str:
    """The library that computes the terms, with its version."""
    return f"{PACKAGE} {versions(PACKAGE).get(PACKAGE, '')}".strip()


def with_dispersion(calculator: Calculator, request: CalculatorRequest) -> Calculator:
    """A calculator with the term that was asked for (`,dispersion=`) on top; itself where none was.

    Raises
    ------
    InputError
        If it has dispersion already, nobody says on which functional's level it computes, or the term cannot be had.
    """
    if request.dispersion is None:
        return calculator
    where, identity = f"--calculator={request.spec}", calculator.identity
    level, added = _level(calculator, where), KEYS[request.dispersion]
    try:
        correction = term(parts_of(of_structure(str(level), ())).functional, added)  # type: ignore[union-attr]
    except InputError as error:
        raise error.within(where) from error
    known = calculator.properties
    return replace(
        calculator,
        identity=identity.model_copy(
            update={
                "label": f"{identity.label}-{request.dispersion}",
                "level_of_theory": str(level._replace(dispersion=added)),
                "options": {**identity.options, "dispersion": request.dispersion},
                "versions": {**identity.versions, **versions(PACKAGE)},
            }
        ),
        ase=SumCalculator([calculator.ase, correction]),
        batch=None if calculator.batch is None else _batch(calculator.batch, correction),
        properties=known and known & {"energy", "free_energy", "forces", "stress"},
    )


def _level(calculator: Calculator, where: str) -> Parts:
    """The level of a calculator, to which a term of dispersion can be added."""
    level = calculator.identity.level_of_theory
    if level is None:
        problem = "a term of dispersion has the parameters of a functional, and nobody says which this model learned"
        raise InputError(where, problem, "say it: ,level=PBE")
    if has_dispersion(level):
        raise InputError(where, f"has dispersion already: its level of theory is {level}", "leave ,dispersion= out")
    parts = parts_of(level)
    if parts is None:
        raise InputError(where, f"no term of dispersion is known for the level of theory '{level}'")
    return parts


def _batch(bare: BatchFunction, correction: Any) -> BatchFunction:
    """The batched pass of a model, with the term of each structure added."""

    def batch(frames: Sequence[Atoms], forces: bool) -> list[tuple[Any, Any]]:
        found = []
        for (energy, force), frame in zip(bare(frames, forces), frames, strict=True):
            both = force + correction.get_forces(frame) if forces else None
            found.append((energy + correction.get_potential_energy(frame), both))
        return found

    return batch
