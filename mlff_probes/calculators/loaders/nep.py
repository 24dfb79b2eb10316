"""NEP on a CPU: many structures through the engine of calorine, past what its ASE calculator does around each call.

Of the time of a pair of atoms the engine takes a fifteenth. The rest goes into copies, comparisons with the structure
before, and the stress, which the ASE calculator makes for every structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_probes.calculators.base import BatchFunction
from mlff_probes.calculators.stages import stage

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_probes.calculators.loaders.one_a_size import OneASize

Answer = tuple[float, Any]
"""Energy, eV, and forces, shape (n_atoms, 3), eV/A, or None."""


def batched(calculators: OneASize) -> BatchFunction:
    """The pass over many structures of `CPUNEP` calculators, one for each number of atoms."""

    def batch(frames: Sequence[Atoms], forces: bool) -> list[Answer]:
        rows_of: dict[int, list[int]] = {}
        for row, frame in enumerate(frames):
            rows_of.setdefault(len(frame), []).append(row)
        found: dict[int, Answer] = {}
        for size, rows in rows_of.items():
            try:
                answers = _of_one_size(calculators.of(size), [frames[row] for row in rows], forces)
            except BaseException:
                calculators.drop(size)  # its engine may have another structure than it knows
                raise
            found |= zip(rows, answers, strict=True)
        return [found[row] for row in range(len(frames))]

    return batch


def _of_one_size(calculator: Any, frames: Sequence[Atoms], forces: bool) -> list[Answer]:
    """The answers for structures of one number of atoms.

    The last one goes through the calculator itself, which compares it with the last one that it was asked for, and so
    knows afterwards what its engine has.
    """
    for frame in frames:
        _check(calculator, frame)
    if calculator.nepy is None:
        with stage("model"):
            calculator.calculate(frames[0])  # makes the engine
    found = []
    for frame in frames[:-1]:
        with stage("copies"):
            _hand(calculator.nepy, frame)
        with stage("model"):
            of_atoms, all_forces, *_ = _ask(calculator)
        with stage("copies"):
            reshaped = np.reshape(all_forces, (3, len(frame))).T if forces else None
            found.append((float(np.sum(of_atoms)), reshaped))
    with stage("copies"):
        _hand(calculator.nepy, frames[-1])
    with stage("model"):
        calculator.calculate(frames[-1])
    results = calculator.results
    return [*found, (float(results["energy"]), results["forces"] if forces else None)]


def _check(calculator: Any, frame: Atoms) -> None:
    """Refuse what the calculator would refuse."""
    if unknown := set(frame.symbols) - calculator.supported_species:
        raise ValueError(f"the model does not know {', '.join(sorted(unknown))}")
    if frame.cell.rank == 0:
        raise ValueError("NEP needs a cell, the structure has none")


def _ask(calculator: Any) -> Any:
    """Energies and forces of the atoms, and more."""
    if "charge" in calculator.model_type:
        return calculator.nepy.get_potential_forces_virials_and_charges()
    return calculator.nepy.get_potential_forces_and_virials()


def _hand(engine: Any, frame: Atoms) -> None:
    """Give the engine another structure, of as many atoms."""
    engine.set_symbols(frame.get_chemical_symbols())
    engine.set_positions(frame.positions.T.ravel().tolist())
    engine.set_cell(frame.cell.complete().array.T.ravel().tolist())
