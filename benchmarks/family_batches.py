"""What a structure costs one by one and in batches, for a family of the table, side by side in one process. ::

    python benchmarks/family_batches.py sevennet:7net-0 path/to/nep.txt

Processor time, the least of some rounds in which each way has its turn, so that others at work matter little. The last
line is of structures of two sizes in turn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import ase.io
from ase import Atoms

from mlff_probes import Calculator, evaluate, load_calculator
from mlff_probes.core.data import DIRECTORY

ROUNDS = 5
BATCHES = (2, 8, 16)
"""Of one structure again and again a calculator would hand out what it has."""


def structures(size: int, count: int) -> list[Atoms]:
    """Structures of 8, 21 or 84 atoms: NaCl-like CrTe, or Cr in the gap of Sb2Te3; each another."""
    gap = ase.io.read(DIRECTORY / "migration" / "cr_sb2te3_in_gap.extxyz", index=0)
    salt = Atoms("Cr4Te4", cell=[5.8] * 3, pbc=True, scaled_positions=[
        (0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5), (0.5, 0.5, 0.5),
    ])  # fmt: skip
    start = {8: salt, 21: gap, 84: gap.repeat((2, 2, 1))}[size]
    start.calc = None
    found = [start.copy() for _ in range(count)]
    for seed, frame in enumerate(found):
        frame.rattle(0.05, seed=seed)
    return found


def least(ways: dict[str, Callable[[], Any]], per: int) -> dict[str, float]:
    """Milliseconds of processor time for each of `per` structures, the least of the rounds."""
    found = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            found[name] = min(found[name], (time.process_time() - start) * 1e3 / per)
    return found


def main() -> None:
    """Print a table for each SPEC."""
    for spec in sys.argv[1:]:
        calculator = load_calculator(spec)
        print(f"\n{spec}: {calculator.identity.versions}, {calculator.identity.threads} threads", flush=True)
        for size in (8, 21, 84):
            for count in BATCHES:
                found = least(ways(calculator, structures(size, count)), count)
                print(size, count, {name: round(ms, 1) for name, ms in found.items()}, flush=True)
        in_turn = [frame for pair in zip(structures(8, 3), structures(21, 3), strict=True) for frame in pair]
        print("8 and 21 in turn", least(ways(calculator, in_turn), len(in_turn)), flush=True)


def ways(calculator: Calculator, frames: list[Atoms]) -> dict[str, Callable[[], Any]]:
    """How structures can be evaluated."""
    loop = replace(calculator, batch=None)
    one_by_one = {"loop": partial(evaluate, loop, frames)}
    if calculator.batch is None:
        return one_by_one
    return one_by_one | {
        "batch": partial(evaluate, calculator, frames),
        "batch, energies": partial(evaluate, calculator, frames, forces=False),
    }


if __name__ == "__main__":
    main()
