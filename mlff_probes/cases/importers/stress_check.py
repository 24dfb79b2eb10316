"""Whether labels are stresses in eV/A^3 with ASE's sign, told by finite differences of the energy of a calculator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.errors import EvaluationError, InputError
from mlff_probes.core.structures import derived

Floats = NDArray[np.float64]

STRAIN = 1e-3
"""Small enough for the curvature to leave a thousandth of the stress, large enough for float32 energies."""

CHECKED = 5
"""Frames that are strained, those of the largest stress: they say most."""

ALIKE = 0.5
"""Deviation from the calculator, as a part of its stress, up to which labels are recognised: models are off by less."""

CLEARLY = 0.5
"""A wrong unit is said where it brings the labels so many times nearer to the calculator."""

TIMES = 3.0
"""From here on a deviation is said in times rather than per cent."""

AXES = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""The six components in ASE's order."""

VASP_ORDER = [0, 1, 2, 4, 5, 3]
"""Where yz, xz and xy stand among xx, yy, zz, xy, yz, zx."""


@dataclass(frozen=True)
class Agreement:
    """How far the labels are from what a calculator says by finite differences.

    Attributes
    ----------
    frames
        How many were strained.
    error_gpa
        Mean absolute deviation of a component, GPa.
    size_gpa
        Mean absolute component by the calculator, GPa.
    """

    frames: int
    error_gpa: float
    size_gpa: float


def check_stresses(calculator: Calculator, frames: Sequence[Atoms], stresses: Floats, where: str) -> Agreement:
    """Compare labels of stress with finite differences of a calculator's energy.

    The six components are (E(+h) - E(-h)) / (2 h V) under the symmetric strains of size h = `STRAIN`, of which a shear
    has h/2 on either side of the diagonal. Labels are also read in other units, with the other sign, in VASP's order
    of components and as virials; where one of these brings them clearly nearer, they are refused.

    Parameters
    ----------
    calculator
        Near enough to the labels' level of theory to have the same stress within half its size.
    frames
        Periodic in all directions.
    stresses
        Their labels, shape (n_frames, 6), eV/A^3.
    where
        Named in what is raised.

    Raises
    ------
    InputError
        If the labels look like something else, the calculator cannot tell, or it fails.
    """
    known = [row for row, frame in enumerate(frames) if not calculator.unknown_elements(frozenset(frame.symbols))]
    rows = sorted(known, key=lambda row: -float(np.abs(stresses[row]).mean()))[:CHECKED]
    if not rows:
        raise InputError(
            where, f"{calculator.label} knows the elements of no frame with a stress", "check with another"
        )
    chosen, labels = [frames[row] for row in rows], stresses[rows]
    try:
        found = np.array([by_differences(calculator, frame) for frame in chosen])
    except EvaluationError as error:
        raise InputError(where, f"the stress cannot be checked: {error}", "check with another calculator") from error
    volumes = np.array([[frame.get_volume()] for frame in chosen])
    return _recognised(labels, found, volumes, calculator.label, where)


def _recognised(labels: Floats, found: Floats, volumes: Floats, label: str, where: str) -> Agreement:
    """How far `labels` are from what a calculator `found`, both (n, 6) and in eV/A^3, if no other reading is nearer."""
    size = float(np.abs(found).mean())
    errors = {name: float(np.abs(read(labels, volumes) - found).mean()) for name, read in READINGS.items()}
    plain, nearest = errors[PLAIN], min(errors, key=errors.__getitem__)
    off = f"off from finite differences of {label} by"
    if errors[nearest] < min(ALIKE * size, CLEARLY * plain):
        raise InputError(
            where,
            f"the stress of {len(labels)} frames looks like {nearest}: so read it is {off} "
            f"{_part(errors[nearest] / size)}, and as it stands by {_part(plain / size)}",
            "write it in eV/A^3 with ASE's sign (positive where the cell wants to shrink), xx, yy, zz, yz, xz, xy",
        )
    if plain > ALIKE * size:
        raise InputError(
            where,
            f"the stress cannot be checked: it is {off} {_part(plain / size)}, and not clearly nearer in another unit "
            "or with another sign",
            "check with a calculator that is nearer to them, or leave --check-stress out",
        )
    return Agreement(len(labels), plain / units.GPa, size / units.GPa)


def by_differences(calculator: Calculator, frame: Atoms) -> Floats:
    """Stress of a structure by central differences of the energy, eV/A^3, shape (6,), in ASE's order and sign."""
    strained = []
    for i, j in AXES:
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * STRAIN / 2
            strain[j, i] += sign * STRAIN / 2
            strained.append(derived(frame, cell=frame.cell.array @ (np.eye(3) + strain), scale_atoms=True))
    energies = evaluate(calculator, strained, forces=False).energies.reshape(6, 2)
    found: Floats = (energies[:, 0] - energies[:, 1]) / (2 * STRAIN * frame.get_volume())
    return found


def _part(off: float) -> str:
    return f"{off:.0%} of its size" if off < TIMES else f"{off:,.0f} times its size"


PLAIN = "a stress in eV/A^3"
Reading = Callable[[Floats, Floats], Floats]
"""From labels (n, 6) and volumes (n, 1) to stresses in eV/A^3."""


def _in(unit: float) -> Reading:
    return lambda labels, _: labels * unit


READINGS: dict[str, Reading] = {
    PLAIN: _in(1.0),
    "a pressure in eV/A^3, of the other sign": _in(-1.0),
    "a stress in GPa": _in(units.GPa),
    "a pressure in GPa, of the other sign": _in(-units.GPa),
    "a stress in kbar": _in(units.GPa / 10),
    "a pressure in kbar, as VASP prints it": _in(-units.GPa / 10),
    "a stress in hartree/bohr^3": _in(units.Hartree / units.Bohr**3),
    "a pressure in hartree/bohr^3, of the other sign": _in(-units.Hartree / units.Bohr**3),
    "a virial in eV": lambda labels, volumes: -labels / volumes,
    "a stress times the volume in eV": lambda labels, volumes: labels / volumes,
    "a stress in VASP's order of components (xx, yy, zz, xy, yz, zx)": lambda labels, _: labels[:, VASP_ORDER],
}
"""What labels may be instead of a stress in ASE's units, order and sign."""
