"""What a calculator answered so far, on disk, so that a relaxation that was killed goes on where it was.

A relaxation is a function of the answers that it gets: one that gets the same ones again, without the model, comes to
the structures at which it was killed.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_probes.core.digest import digest
from mlff_probes.core.errors import describe
from mlff_probes.core.evaluation import Evaluation

if TYPE_CHECKING:
    from ase import Atoms

Answer = tuple[float, list[list[float]] | None, list[float] | None]
"""Energy (eV), forces (eV/A) and stress (eV/A^3) of a structure, as far as they were asked for."""

DECIMALS = 7
"""To so many decimals, A, a structure is the one of before: other threads round otherwise on the way to it."""

Evaluate = Callable[[], Evaluation]
"""Asks the model for all frames."""


class Journal:
    """The answers of one calculator in one measurement, a line each.

    Answers of an earlier process are given again, each once and in their order. What this one asks for a second time is
    asked of the model, which may answer otherwise then.

    Parameters
    ----------
    file
        Read if it is there; a line that was cut short is the last that counts.

    Attributes
    ----------
    given_again
        How many answers were.
    problem
        Why nothing more can be written, or nothing.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.given_again, self.problem = file, 0, ""
        self._known: defaultdict[str, deque[Answer]] = defaultdict(deque)
        with suppress(OSError, ValueError, TypeError):
            for line in file.read_text(encoding="utf-8").splitlines():
                key, energy, forces, stress = json.loads(line)
                self._known[key].append((energy, forces, stress))

    def evaluation(self, frames: Sequence[Atoms], wanted: tuple[bool, bool], evaluate: Evaluate) -> Evaluation:
        """What the calculator says of `frames`: from the earlier process, or of the model, and then it is kept.

        Parameters
        ----------
        wanted
            Whether forces, and stresses, are.
        """
        keys = [_key(frame, wanted) for frame in frames]
        if not all(self._known.get(key) for key in keys):
            found = evaluate()
            self._write(keys, found)
            return found
        answers = [self._known[key].popleft() for key in keys]
        self.given_again += len(answers)
        energies, forces, stresses = zip(*answers, strict=True)
        return Evaluation(
            energies=np.array(energies, dtype=float),
            forces=tuple(np.array(each, dtype=float) for each in forces) if wanted[0] else None,
            stresses=np.array(stresses, dtype=float) if wanted[1] else None,
            calls=len(frames),
        )

    def _write(self, keys: Sequence[str], found: Evaluation) -> None:
        if self.problem:
            return
        lines = []
        for row, key in enumerate(keys):
            forces = None if found.forces is None else found.forces[row].tolist()
            stress = None if found.stresses is None else found.stresses[row].tolist()
            lines.append(json.dumps([key, float(found.energies[row]), forces, stress]) + "\n")
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError as error:  # the disk is full, say; the relaxation goes on
            self.problem = f"cannot be resumed where it is killed: {describe(error)}"


def _key(frame: Atoms, wanted: tuple[bool, bool]) -> str:
    """The hash of a structure to `DECIMALS`."""
    lengths = [array.round(DECIMALS) + 0.0 for array in (frame.positions, frame.cell.array)]  # no -0.0
    return digest(wanted, frame.numbers, frame.pbc, *lengths)
