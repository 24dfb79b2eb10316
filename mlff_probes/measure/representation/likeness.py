"""How alike several models represent the same atoms: linear CKA between layers, silhouettes, and a t-SNE picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from mlff_probes.measure.representation.maps import Map
from mlff_probes.methods.analysis.similarity import Similarity, aligned, linear_cka_interval, silhouette

Floats = NDArray[np.float64]

FEWEST_ATOMS = 32
"""Atoms that two maps share, at least, to be compared."""

PERPLEXITY, LEARNING_RATE, SEED = 30, 200, 0
"""Of t-SNE (Cao and Clancy, arXiv 2509.00090)."""


@dataclass(frozen=True)
class Likeness:
    """Two models on the same atoms.

    Attributes
    ----------
    one, other
        Their labels, each with the name of its last layer.
    atoms
        How many atoms both know.
    cka
        Linear CKA of the last layers, within elements, with a 95 % interval from halves of the frames; None where
        there is none.
    silhouette
        Of both last layers, within elements, once the other is scaled to the size of the first, and rotated to it;
        None likewise.
    why_not
        Why there is no number; empty where there are both.
    """

    one: str
    other: str
    atoms: int
    cka: Similarity | None = None
    silhouette: float | None = None
    why_not: str = ""

    def __str__(self) -> str:
        what = f"features of {self.one} and of {self.other}"
        if self.cka is None:
            return f"{what}: not compared, {self.why_not}"
        return (
            f"{what}: linear CKA {self.cka.value:.2f} ({self.cka.low:.2f} to {self.cka.high:.2f}), silhouette "
            f"{self.silhouette:.2f} once scaled and rotated, over {self.atoms} atoms"
        )


def likenesses(maps: Mapping[str, Map]) -> list[Likeness]:
    """Each pair of some models, by their labels."""
    return [_pair((one, maps[one]), (other, maps[other])) for one, other in combinations(maps, 2)]


def _pair(*named: tuple[str, Map]) -> Likeness:
    """Two models, each with its label."""
    one_name, other_name = (f"{label}, {each.last}" for label, each in named)
    shared = in_all([each for _, each in named])
    found = Likeness(one_name, other_name, len(shared))
    if len(shared) < FEWEST_ATOMS:
        return replace(found, why_not=f"both know {len(shared)} of the atoms, {FEWEST_ATOMS} are needed")
    kept = [each.only(shared) for _, each in named]
    try:
        one, other = (each.layers[each.last] for each in kept)
        cka = linear_cka_interval(one, other, kept[0].frames)
    except ValueError as error:
        return replace(found, why_not=str(error))
    return replace(found, cka=cka, silhouette=silhouette(*in_one_space(kept)))


def in_one_space(maps: Sequence[Map]) -> list[Floats]:
    """The last layers of some maps of the same atoms, scaled and rotated to that of the first; of one shape."""
    first, *rest = (each.layers[each.last] for each in maps)
    moved = [first, *(aligned(each, first) for each in rest)]
    width = max(each.shape[1] for each in moved)
    return [np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in moved]


def matrix(maps: Mapping[str, Map]) -> tuple[list[str], list[list[Similarity | None]]]:
    """Linear CKA of each layer of each model with each other one, within elements; None where there is none."""
    shared = in_all(list(maps.values()))
    kept = {label: each.only(shared) for label, each in maps.items()}
    layers = [(f"{label}, {layer}", each.layers[layer]) for label, each in kept.items() for layer in each.layers]
    frames = next(iter(kept.values())).frames
    found: dict[tuple[int, int], Similarity | None] = {}
    for row, column in combinations_with_replacement(range(len(layers)), 2):
        with suppress(ValueError):
            if len(shared) >= FEWEST_ATOMS:
                found[row, column] = linear_cka_interval(layers[row][1], layers[column][1], frames)
    square = [[found.get((min(i, j), max(i, j))) for j in range(len(layers))] for i in range(len(layers))]
    return [name for name, _ in layers], square


def embedding(maps: Sequence[Map]) -> tuple[Floats, NDArray[np.str_]] | None:
    """t-SNE of the atoms that all models know, shape (n_models, n_atoms, 2), and their elements; None for too few.

    All are first scaled and rotated to the first (`in_one_space`). A picture: neither its distances nor the sizes of
    its clusters mean anything, and nothing is computed from it.
    """
    from sklearn.manifold import TSNE  # a second to import

    shared = in_all(maps)
    if len(shared) < FEWEST_ATOMS:
        return None
    kept = [each.only(shared) for each in maps]
    points = np.concatenate(in_one_space(kept))
    rng = np.random.default_rng(SEED)
    points = points + 1e-6 * points.std() * rng.normal(size=points.shape)  # two copies of a model have equal points
    drawn = TSNE(perplexity=PERPLEXITY, learning_rate=LEARNING_RATE, init="pca", random_state=SEED).fit_transform(
        points
    )
    return np.asarray(drawn, dtype=float).reshape(len(maps), len(shared), 2), kept[0].elements


def in_all(maps: Sequence[Map]) -> list[str]:
    """The atoms that all maps hold, in the order of the first."""
    others = [set(each.atoms) for each in maps[1:]]
    return [atom for atom in maps[0].atoms if all(atom in each for each in others)]
