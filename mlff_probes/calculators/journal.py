"""What a calculator answered so far, on disk, so that a relaxation that was killed goes on where it was.

A relaxation is a function of the answers that it gets: one that gets the same ones again, without the model, comes to
the structures at which it was killed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_probes.core.digest import digest, of_text
from mlff_probes.core.evaluation import Evaluation

if TYPE_CHECKING:
    from ase import Atoms

Answer = tuple[float, list[list[float]] | None, list[float] | None]
"""Energy (eV), forces (eV/A) and stress (eV/A^3) of a structure, as far as they were asked for."""

HASH_DIGITS = 16
DECIMALS = 7
"""To so many decimals, A, a structure is the one of before: other threads round otherwise on the way to it."""

Evaluate = Callable[[], Evaluation]
"""Asks the model for all frames."""


class Journal:
    """The answers of one calculator in one measurement, a line each, behind its hash.

    Answers of an earlier process are given again, each once and in their order. What this one asks for a second time is
    asked of the model, which may answer otherwise then.

    Parameters
    ----------
    file
        Read if it is there; a line that was cut short or edited does not count.

    Attributes
    ----------
    given_again
        How many answers were.
    full
        Whether nothing more can be written: a relaxation that is killed then begins further back.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.given_again, self.full = file, 0, False
        self._known: defaultdict[str, deque[Answer]] = defaultdict(deque)
        with suppress(OSError, ValueError):
            for line in file.read_text(encoding="utf-8").splitlines():
                said, _, written = line.partition(" ")
                if said == _hash(written):
                    key, energy, forces, stress = json.loads(written)
                    self._known[key].append((energy, forces, stress))

    def evaluation(self, frames: Sequence[Atoms], wanted: tuple[bool, bool], evaluate: Evaluate) -> Evaluation:
        """What the calculator says of `frames`: from the earlier process, or of the model, and then it is kept.

        Parameters
        ----------
        wanted
            Whether forces, and stresses, are.
        """
        keys = [_key(frame, wanted) for frame in frames]
        if any(len(self._known[key]) < count for key, count in Counter(keys).items()):
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
        if self.full:
            return
        lines = []
        for row, key in enumerate(keys):
            forces = None if found.forces is None else found.forces[row].tolist()
            stress = None if found.stresses is None else found.stresses[row].tolist()
            written = json.dumps([key, float(found.energies[row]), forces, stress])
            lines.append(f"\n{_hash(written)} {written}")  # begun on a line of its own, whatever a kill left before
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError:  # the relaxation goes on
            self.full = True


def _hash(text: str) -> str:
    return of_text(text)[:HASH_DIGITS]


def _key(frame: Atoms, wanted: tuple[bool, bool]) -> str:
    """The hash of a structure to `DECIMALS`."""
    lengths = [array.round(DECIMALS) + 0.0 for array in (frame.positions, frame.cell.array)]  # no -0.0
    return digest(wanted, frame.numbers, frame.pbc, *lengths)
