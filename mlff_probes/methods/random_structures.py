"""Hypothesis strategies for structures and for what may be done to them without changing the physics.

They serve property tests of a calculator of your own as well: ``@given(structures(["Si", "O"]), rotations())``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlff_probes.core.structures import made

Floats = NDArray[np.float64]
T = TypeVar("T")

TOUCHING_TO_LOOSE = (1.0, 1.4)
"""Shortest distance of a random structure over the sum of the covalent radii."""

SHORTEST_A, LONGEST_A = 1.5, 4.5
"""Bounds of the shortest distance, A: closer hydrogen has hundreds of neighbours, and farther apart atoms have none."""

BACKEND = "mlff-probes"
MOST_ATOMS = 8
SIZES = (2, 3, 4, 5, 6, 7, MOST_ATOMS, 1)
"""Numbers of atoms, each as likely; the first is the simplest to hypothesis, which a single atom, without any force,
shall not be."""

MOST_ELEMENTS = 3
RATTLE = 0.15
"""How far an atom of a random structure is off the site of a 2 x 2 x 2 grid, as a part of the cell."""


def _backend() -> str:
    """Hypothesis's own source of choices, without the constants that it collects from the user's modules.

    With them the examples of a run would depend on what else is imported, and a `.hypothesis` folder be left behind.
    There is no setting for this; where these internals have moved, examples come from the default source.
    """
    try:
        from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
        from hypothesis.internal.constants_ast import Constants
    except ImportError:
        return "hypothesis"
    if BACKEND not in AVAILABLE_PROVIDERS:
        plain = type("PlainProvider", (HypothesisProvider,), {"_local_constants": Constants()})
        globals()["PlainProvider"] = plain
        AVAILABLE_PROVIDERS[BACKEND] = f"{__name__}.PlainProvider"
    return BACKEND


def drawn(strategy: st.SearchStrategy[T], number: int) -> list[T]:
    """Up to `number` examples of `strategy`, the same in every run.

    Nothing is asserted while they are drawn, so that hypothesis neither stops at a failure nor shrinks one: whoever
    draws evaluates all of them and looks for the worst.
    """
    examples: list[T] = []
    if number == 0:
        return examples

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        backend=_backend(),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: T) -> None:
        examples.append(example)

    collect()
    return examples


def cells() -> st.SearchStrategy[Floats]:
    """Cells of any symmetry, rows are vectors, of the order of 1 in each direction and never flat."""

    def cell(numbers: tuple[float, ...]) -> Floats:
        bx, by, cx, cy, cz = numbers
        return np.array([[1.0, 0.0, 0.0], [bx, by, 0.0], [cx, cy, cz]])

    lean, height = st.floats(-0.6, 0.6), st.floats(0.7, 1.5)
    return st.tuples(lean, height, lean, lean, height).map(cell)


@st.composite
def structures(
    draw: Callable[[st.SearchStrategy[Any]], Any], elements: Sequence[str], info: Mapping[str, Any] | None = None
) -> Atoms:
    """Periodic structures of 1 to 8 atoms of up to three of `elements`, without close contacts.

    The atoms sit near the sites of a grid in a random cell, which is then scaled until the shortest distance is
    1.0 to 1.4 times the sum of the two covalent radii (but 1.5 to 4.5 A, where that lies outside). They are neutral
    (`charge` 0 in their `info`) and carry whatever else `info` says.
    """
    palette = draw(st.lists(st.sampled_from(sorted(elements)), min_size=1, max_size=MOST_ELEMENTS, unique=True))
    size = draw(st.sampled_from(SIZES))
    symbols = draw(st.lists(st.sampled_from(palette), min_size=size, max_size=size))
    sites = draw(st.permutations(range(MOST_ATOMS)))[: len(symbols)]
    grid = np.array([[site & 1, site >> 1 & 1, site >> 2 & 1] for site in sites]) / 2
    off = draw(st.lists(st.floats(-RATTLE, RATTLE), min_size=3 * len(symbols), max_size=3 * len(symbols)))
    atoms = made(symbols, scaled_positions=grid + np.reshape(off, (-1, 3)), cell=draw(cells()), info=info)
    ratio, distance = closest(atoms)
    scale = np.clip(draw(st.floats(*TOUCHING_TO_LOOSE)) / ratio, SHORTEST_A / distance, LONGEST_A / distance)
    atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    return atoms


def closest(atoms: Atoms) -> tuple[float, float]:
    """The shortest distance over the sum of the covalent radii, and the shortest in A, periodic images included."""
    shifts = np.array(np.meshgrid(*[(-1, 0, 1) if p else (0,) for p in atoms.pbc], indexing="ij")).reshape(3, -1).T
    vectors = atoms.positions[:, None, None] - atoms.positions[:, None] - shifts @ atoms.cell.array
    distances = np.linalg.norm(vectors, axis=-1)
    distances[distances == 0] = np.inf
    radii = covalent_radii[atoms.numbers]
    ratios = distances / (radii[:, None] + radii)[:, :, None]
    return float(ratios.min()), float(distances.min())


def rotations() -> st.SearchStrategy[Floats]:
    """Proper rotations, shape (3, 3), spread over the whole group (Shoemake, Graphics Gems III, 124 (1992))."""

    def rotation(numbers: tuple[float, float, float]) -> Floats:
        u, v, w = numbers
        a, b = np.sqrt(1 - u), np.sqrt(u)
        x, y = a * np.sin(2 * np.pi * v), a * np.cos(2 * np.pi * v)
        z, s = b * np.sin(2 * np.pi * w), b * np.cos(2 * np.pi * w)
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - s * z), 2 * (x * z + s * y)],
                [2 * (x * y + s * z), 1 - 2 * (x * x + z * z), 2 * (y * z - s * x)],
                [2 * (x * z - s * y), 2 * (y * z + s * x), 1 - 2 * (x * x + y * y)],
            ]
        )

    part = st.floats(0.05, 0.95)  # the bounds, which hypothesis likes to try, would all be turns by 180 degrees
    return st.tuples(part, part, part).map(rotation)


def equivalent_cells() -> st.SearchStrategy[NDArray[np.int_]]:
    """Integer matrices of determinant 1: ``matrix @ cell`` spans the same lattice, written with leaning vectors."""

    def matrix(shears: list[tuple[tuple[int, int], int]]) -> NDArray[np.int_]:
        found = np.eye(3, dtype=int)
        for (row, other), times in shears:
            found[row] += times * found[other]
        return found

    pairs = st.sampled_from([(i, j) for i in range(3) for j in range(3) if i != j])
    return st.lists(st.tuples(pairs, st.sampled_from([-2, -1, 1, 2])), min_size=1, max_size=3).map(matrix)


def directions(n_atoms: int) -> st.SearchStrategy[Floats]:
    """Displacements of `n_atoms` atoms, shape (n_atoms, 3), of length 1 over all of them: of one atom, or of all."""
    part = st.floats(-1.0, 1.0)

    def unit(numbers: Any) -> Floats:
        array = np.reshape(np.asarray(numbers, dtype=float), (-1, 3))
        if np.linalg.norm(array) < 1e-3:
            array = np.ones_like(array)
        return array / float(np.linalg.norm(array))

    def of_one(chosen: tuple[int, list[float]]) -> Floats:
        field = np.zeros((n_atoms, 3))
        field[chosen[0]] = unit(chosen[1])[0]
        return field

    one = st.tuples(st.integers(0, n_atoms - 1), st.lists(part, min_size=3, max_size=3)).map(of_one)
    return one | st.lists(part, min_size=3 * n_atoms, max_size=3 * n_atoms).map(unit)


def strains() -> st.SearchStrategy[Floats]:
    """Symmetric strains, shape (3, 3), of Frobenius norm 1: any mixture of dilation and shear."""

    def strain(numbers: list[float]) -> Floats:
        xx, yy, zz, yz, xz, xy = numbers
        found: Floats = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        if np.linalg.norm(found) < 1e-3:
            found = np.eye(3)
        return found / float(np.linalg.norm(found))

    return st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6).map(strain)
