"""A crystal from a file: periodic in three directions, ordered, and in its smallest cell."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.cases.files import read_frames
from mlff_probes.core.errors import InputError
from mlff_probes.methods.neighbours import closest_pair

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SAME_A = 0.02
"""Places that differ by less are one, A: files carry limited decimals, and relaxed cells a little strain."""

CLOSEST = 0.5
"""Atoms nearer than this times the sum of their covalent radii are no crystal."""


def read_crystal(path: Path) -> Atoms:
    """The crystal in `path`, in any format that ASE reads (of several structures, the last).

    Only elements, positions and cell are taken.

    Raises
    ------
    InputError
        If it cannot be read, is not periodic in three directions, has sites that are occupied in part, or atoms on top
        of each other.
    """
    if not path.exists():
        raise InputError(path, f"there is no such file (looked from {Path.cwd()})")
    read = read_frames(path)[-1]
    _check_occupancy(read, path)
    if not read.pbc.all() or abs(read.cell.volume) < 1e-6:
        raise InputError(path, "is not periodic in three directions: a molecule or a slab", "a crystal is needed")
    crystal = Atoms(read.numbers, positions=read.positions, cell=read.cell, pbc=True)
    if not (np.isfinite(crystal.positions).all() and len(crystal)):
        raise InputError(path, "has no atoms, or positions that are not finite")
    ratio, (first, second) = closest_pair(crystal)
    if ratio < CLOSEST:
        named = f"atoms {first} ({crystal.symbols[first]}) and {second} ({crystal.symbols[second]})"
        raise InputError(path, f"{named} are {crystal.get_distance(first, second, mic=True):.2f} A apart: no crystal")
    return crystal


def symmetry(atoms: Atoms) -> tuple[Integers, Floats]:
    """Rotations and translations that bring a crystal upon itself, in its cell vectors.

    Returns
    -------
    rotations, translations
        Shapes (n, 3, 3) and (n, 3): x' = W x + t; the identity alone where spglib finds none.
    """
    found = _by_spglib(spglib.get_symmetry, atoms)
    if found is None:
        return np.eye(3, dtype=np.int64)[None], np.zeros((1, 3))
    return found["rotations"], found["translations"]


def primitive(crystal: Atoms) -> Atoms:
    """The smallest cell of a crystal, neither turned nor idealised; atoms in the order of the file."""
    found = _by_spglib(spglib.standardize_cell, crystal, to_primitive=True, no_idealize=True)
    if found is None:  # atoms too near each other, say, for that precision
        return crystal
    lattice, scaled, numbers = found
    return Atoms(numbers, scaled_positions=scaled, cell=lattice, pbc=True)


def _by_spglib(ask: Callable[..., Any], atoms: Atoms, **how: bool) -> Any:
    """What spglib finds for a crystal; None where it finds nothing, whether it raises that or returns it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about that change of manners
        try:
            return ask((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=SAME_A, **how)
        except spglib.SpglibError:
            return None


def conventional(crystal: Atoms) -> Atoms:
    """The conventional cell of a crystal, neither turned nor idealised; the given one where no symmetry is found."""
    found = _by_spglib(spglib.standardize_cell, crystal, to_primitive=False, no_idealize=True)
    if found is None:
        return crystal
    lattice, scaled, numbers = found
    return Atoms(numbers, scaled_positions=scaled, cell=lattice, pbc=True)


def formula(atoms: Atoms) -> str:
    """The reduced formula, as a chemist would write it."""
    return str(atoms.symbols.formula.reduce()[0].format("metal"))


def _check_occupancy(read: Atoms, path: Path) -> None:
    """Refuse sites that are occupied in part or by several species, of which ASE takes one."""
    for site in read.info.get("occupancy", {}).values():
        if len(site) > 1 or any(abs(share - 1.0) > 1e-3 for share in site.values()):
            shares = ", ".join(f"{share:g} {species}" for species, share in site.items())
            raise InputError(
                path, f"is disordered: a site holds {shares}", "give an ordered cell, with one species on each site"
            )
