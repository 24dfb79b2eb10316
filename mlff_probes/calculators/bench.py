"""The one structure through which an ASE calculator is asked: set up once, and then moved.

Some calculators watch the structure that they are attached to, and read their model again for a new one (15 MB a call,
1 s instead of 3 ms). A molecular dynamics run moves one structure, and so does this.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import equal

from mlff_probes.calculators.limits import forget


class Bench:
    """One structure with a calculator on it, made anew for other elements only."""

    def __init__(self) -> None:
        self._atoms: Atoms | None = None

    def placed(self, frame: Atoms, calculator: Any) -> Atoms:
        """A structure as `frame`, which is not touched, attached to `calculator`: if it can be, the one of last time.

        All that a calculator may read is that of `frame`: nothing of an earlier structure stays.
        """
        atoms = self._atoms
        if atoms is None or atoms.calc is not calculator or not np.array_equal(atoms.numbers, frame.numbers):
            self._atoms = None
            atoms = frame.copy()
            atoms.calc = calculator
        elif _differ_unseen(atoms, frame):
            forget(calculator)
        else:
            _keep_apart(atoms, calculator)
        _make_alike(atoms, frame)
        self._atoms = atoms
        return atoms

    def clear(self) -> None:
        """Begin with a new structure next time, as after a call that failed."""
        self._atoms = None


def _make_alike(atoms: Atoms, frame: Atoms) -> None:
    """Give `atoms` all that `frame` has, in the same arrays where they fit."""
    atoms.set_constraint()
    atoms.set_cell(frame.cell)
    atoms.set_celldisp(frame.get_celldisp())
    atoms.pbc = frame.pbc
    atoms.info = copy.deepcopy(frame.info)
    for name in set(atoms.arrays) - set(frame.arrays):
        del atoms.arrays[name]
    for name, array in frame.arrays.items():
        own = atoms.arrays.get(name)
        if own is not None and (own.shape, own.dtype) == (array.shape, array.dtype):
            own[...] = array
        else:
            atoms.arrays[name] = array.copy()
    if frame.constraints:
        atoms.set_constraint(copy.deepcopy(frame.constraints))


def _differ_unseen(atoms: Atoms, frame: Atoms) -> bool:
    """Whether two structures differ in nothing but what ASE does not look at before it hands out old results.

    Momenta do not count: replicas that begin at one place have the same energy and forces.
    """
    if not (atoms.pbc == frame.pbc).all() or not np.array_equal(atoms.cell.array, frame.cell.array):
        return False
    if not np.array_equal(atoms.positions, frame.positions):
        return False
    arrays, wanted = ({k: v for k, v in each.arrays.items() if k != "momenta"} for each in (atoms, frame))
    return not (equal(atoms.info, frame.info) and equal(arrays, wanted))


def _keep_apart(atoms: Atoms, calculator: Any) -> None:
    """Leave a calculator that kept the very structure a copy: it could not see how that is moved."""
    if getattr(calculator, "atoms", None) is atoms:
        with contextlib.suppress(AttributeError):  # one that cannot be set
            calculator.atoms = atoms.copy()
