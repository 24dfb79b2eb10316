"""What is kept of the features of a model, so that they can be compared with those of another one: a map of atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.calculators.descriptors import Descriptors
from mlff_probes.methods.analysis.similarity import within_groups
from mlff_probes.methods.analysis.subspace import STEADY

Floats = NDArray[np.float64]

ATOMS_OF_ELEMENT = 80
"""Atoms of each element that are kept, drawn at random from all frames."""

COMPONENTS = 12
"""Principal components of what tells atoms of one element apart."""

DIGITS = 5
"""Of a number that is kept."""

LAYER = "map_of_"
"""Before the name of a layer, in the arrays of a measurement."""


@dataclass(frozen=True)
class Map:
    """Some atoms of the frames of a case in the principal components of each layer of a model.

    Attributes
    ----------
    atoms
        "frame:atom" of each, which tells which atoms of two maps are the same.
    elements
        Their symbols.
    layers
        By name, the scores of each atom about the mean of its element, shape (n_atoms, n_components), in the model's
        own unit.
    """

    atoms: tuple[str, ...]
    elements: NDArray[np.str_]
    layers: Mapping[str, Floats]

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Sequence[Any]]) -> Self | None:
        """The map in the arrays of a measurement; None where it has none."""
        if "map_atom" not in arrays:
            return None
        layers = {
            name.removeprefix(LAYER): np.array(rows, dtype=float)
            for name, rows in arrays.items()
            if name.startswith(LAYER)
        }
        return cls(tuple(arrays["map_atom"]), np.array(arrays["map_element"], dtype=str), layers)

    def arrays(self) -> dict[str, list[Any]]:
        """The same as the arrays of a measurement."""
        found: dict[str, list[Any]] = {"map_atom": list(self.atoms), "map_element": self.elements.tolist()}
        for name, scores in self.layers.items():
            size = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(scores).max() or 1.0)))
            found[LAYER + name] = (np.round(scores * size) / size).tolist()
        return found

    @property
    def frames(self) -> NDArray[np.int_]:
        """The number of the frame of each atom."""
        return np.array([int(atom.partition(":")[0]) for atom in self.atoms], dtype=int)

    @property
    def last(self) -> str:
        """The name of the last layer."""
        return list(self.layers)[-1]

    def only(self, atoms: Sequence[str]) -> Map:
        """The map of some of its atoms, in this order, each element about its mean over these."""
        place = {atom: row for row, atom in enumerate(self.atoms)}
        rows = [place[atom] for atom in atoms]
        elements = self.elements[rows]
        layers = {name: within_groups(scores[rows], elements) for name, scores in self.layers.items()}
        return Map(tuple(atoms), elements, layers)


class AtomSample:
    """The atoms of a map, drawn before the features come in, which do so in parts."""

    def __init__(self, frames: Sequence[Atoms], seed: int) -> None:
        rng = np.random.default_rng(seed)
        symbols = [frame.get_chemical_symbols() for frame in frames]
        places = [(row, atom) for row, each in enumerate(symbols) for atom in range(len(each))]
        chosen = []
        for symbol in sorted({s for each in symbols for s in each}):
            mine = [(row, atom) for row, atom in places if symbols[row][atom] == symbol]
            chosen += [mine[i] for i in rng.permutation(len(mine))[:ATOMS_OF_ELEMENT]]
        self._chosen = sorted(chosen)
        self._elements = np.array([symbols[row][atom] for row, atom in self._chosen], dtype=str)
        self._seen = 0
        self._rows: dict[str, list[Floats]] = {}

    def take(self, described: Descriptors) -> None:
        """The features of the next frames."""
        first, self._seen = self._seen, self._seen + len(described.atoms)
        for row, atom in self._chosen:
            if first <= row < self._seen:
                for name, columns in described.layers.items():
                    self._rows.setdefault(name, []).append(described.atoms[row - first][atom, columns])

    def map(self) -> Map | None:
        """The map; None where the descriptors are no features of a model."""
        if not self._rows:
            return None
        layers = {name: principal(np.array(rows), self._elements) for name, rows in self._rows.items()}
        return Map(tuple(f"{row}:{atom}" for row, atom in self._chosen), self._elements, layers)


def principal(features: Floats, groups: NDArray[np.str_]) -> Floats:
    """Scores of samples about the mean of their group, in the principal components of these: what varies within groups.

    Parameters
    ----------
    features
        Shape (n_samples, n_features).
    groups
        Shape (n_samples,).

    Returns
    -------
    numpy.ndarray
        Shape (n_samples, at most COMPONENTS); zeros where nothing varies by more than rounding.
    """
    within = within_groups(features, groups)
    if np.abs(within).max() <= STEADY * np.abs(features).max():
        within = np.zeros_like(within)
    return np.asarray(within @ np.linalg.svd(within, full_matrices=False)[2][:COMPONENTS].T)
