"""Hypothesis strategies for structures and for what may be done to them without changing the physics.

They serve property tests of a calculator of your own as well: ``@given(structures(["Si", "O"]), rotations())``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import minkowski_reduce
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlff_probes.core.structures import derived, made

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
CRYSTALS = ((True, True, True),)
SLABS, WIRES = ((True, True, False), (False, True, True)), ((True, False, False), (False, True, False))
PERIODIC = (*CRYSTALS * 8, *SLABS, *WIRES)
"""In which directions random structures are periodic, each as likely: two of three are crystals."""

VACUUM_A = (2.0, 8.0)
"""By how much more a cell extends where it is not periodic, A; nearer than most cutoffs at first."""

FLAT = 0.3
"""The third height of a flat cell over that of others; its vectors are then up to ten times as long as it is high."""

AWAY = 2
"""By how many cell vectors atoms lie outside of their cell, at most."""

SELDOM = (False, False, False, True)
"""Of every four structures, one is written in each of the unusual ways."""

WIRE, SLAB = "periodic in one direction", "periodic in two directions"
FLAT_CELL, SKEWED, LEFT, OUTSIDE = "flat cell", "skewed cell", "left-handed cell", "atoms outside the cell"
UNUSUAL = (SKEWED, WIRE, FLAT_CELL, SLAB, LEFT, OUTSIDE)
"""In which ways a structure may be unusual, the rarest first."""

LEANS = 0.5
"""A cell is skewed whose volume is less than this part of the product of the lengths of its vectors."""

LOW = 0.35
"""A cell is flat that is, once reduced, lower in one direction than this part of its longest vector."""

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


def cells(flat: Sequence[bool] = SELDOM) -> st.SearchStrategy[Floats]:
    """Right-handed cells of any symmetry, rows are vectors, of the order of 1 in each direction; some are `flat`."""

    def cell(numbers: tuple[float, float, float, float, float, bool]) -> Floats:
        bx, by, cx, cy, cz, low = numbers
        return np.array([[1.0, 0.0, 0.0], [bx, by, 0.0], np.array([cx, cy, cz]) * (FLAT if low else 1.0)])

    lean, height = st.floats(-0.6, 0.6), st.floats(0.7, 1.5)
    return st.tuples(lean, height, lean, lean, height, st.sampled_from(flat)).map(cell)


def structures(
    elements: Sequence[str], info: Mapping[str, Any] | None = None, kind: str | None = None
) -> st.SearchStrategy[Atoms]:
    """Structures of 1 to 8 atoms of up to three of `elements`, without close contacts.

    The atoms sit near the sites of a grid in a random cell, which is then scaled until the shortest distance is
    1.0 to 1.4 times the sum of the two covalent radii (but 1.5 to 4.5 A, where that lies outside). Some are slabs and
    wires, periodic in two directions or one, with a vacuum in the others; and some are `written_otherwise`. They are
    neutral (`charge` 0 in their `info`) and carry whatever else `info` says. With a `kind` all are unusual in that way.
    """
    found = _structures(elements, info, kind)
    return found if kind is None else found.filter(lambda atoms: kind in unusual(atoms))


@st.composite
def _structures(
    draw: Callable[[st.SearchStrategy[Any]], Any],
    elements: Sequence[str],
    info: Mapping[str, Any] | None,
    kind: str | None,
) -> Atoms:
    palette = draw(st.lists(st.sampled_from(sorted(elements)), min_size=1, max_size=MOST_ELEMENTS, unique=True))
    size = draw(st.sampled_from(SIZES))
    symbols = draw(st.lists(st.sampled_from(palette), min_size=size, max_size=size))
    sites = draw(st.permutations(range(MOST_ATOMS)))[: len(symbols)]
    grid = np.array([[site & 1, site >> 1 & 1, site >> 2 & 1] for site in sites]) / 2
    off = draw(st.lists(st.floats(-RATTLE, RATTLE), min_size=3 * len(symbols), max_size=3 * len(symbols)))
    periodic = {WIRE: WIRES, SLAB: SLABS, FLAT_CELL: CRYSTALS, SKEWED: CRYSTALS}.get(kind or "", PERIODIC)
    scaled, pbc = grid + np.reshape(off, (-1, 3)), draw(st.sampled_from(periodic))
    cell = draw(cells(_only(kind == FLAT_CELL)))
    atoms = made(symbols, scaled_positions=scaled, cell=cell, pbc=pbc, info=info)
    ratio, distance = closest(atoms)
    scale = np.clip(draw(st.floats(*TOUCHING_TO_LOOSE)) / ratio, SHORTEST_A / distance, LONGEST_A / distance)
    atoms = derived(atoms, cell=atoms.cell.array * scale, scale_atoms=True)
    wide = np.where(pbc, 1.0, 1.0 + draw(st.floats(*VACUUM_A)) / atoms.cell.lengths())
    found: Atoms = draw(written_otherwise(derived(atoms, cell=atoms.cell.array * wide[:, None]), kind))
    return found


def _only(sure: bool) -> tuple[bool, ...]:
    return (True,) if sure else SELDOM


def written_otherwise(atoms: Atoms, kind: str | None = None) -> st.SearchStrategy[Atoms]:
    """The same structure, for some of all examples in a left-handed cell, in a skewed one, or with atoms outside of it.

    The order of the cell vectors makes it left-handed; combinations of those that are periodic, and negative ones, skew
    it; atoms lie outside by periodic cell vectors. What `kind` names is done to all. A structure without a cell stays
    as it is.
    """
    if not atoms.pbc.any() or atoms.cell.rank < 3:
        return st.just(atoms)

    def written(choice: tuple[bool, bool, bool, NDArray[np.int_], int]) -> Atoms:
        swapped, skewed, outside, matrix, seed = choice
        away = np.random.default_rng(seed).integers(-AWAY, AWAY + 1, size=(len(atoms), 3))
        shift = away * outside * atoms.pbc
        cell = (matrix if skewed else np.eye(3)) @ atoms.cell.array
        found = derived(atoms, cell=cell, positions=atoms.positions + shift @ atoms.cell.array)
        return in_order(found, (1, 0, 2)) if swapped else found

    ways = [st.sampled_from(_only(kind == way)) for way in (LEFT, SKEWED, OUTSIDE)]
    return st.tuples(*ways, equivalent_cells(tuple(atoms.pbc)), st.integers(0, 2**16)).map(written)


def in_order(atoms: Atoms, order: tuple[int, int, int]) -> Atoms:
    """The same structure with its cell vectors in another order, which may turn the handedness of the cell."""
    return derived(atoms, cell=atoms.cell.array[list(order)], pbc=atoms.pbc[list(order)])


def oddities(atoms: Atoms) -> list[str]:
    """In which cells, that a model may refuse, a structure is: left-handed ones, and those not wholly periodic."""
    found = ["left-handed cell"] if atoms.cell.rank == 3 and np.linalg.det(atoms.cell.array) < 0 else []
    directions = int(atoms.pbc.sum())
    if directions == 3:
        return found
    return [*found, f"periodic in {directions} direction{'s' * (directions != 1)}"]


def unusual(atoms: Atoms) -> set[str]:
    """In which ways (`UNUSUAL`) a structure is unusual."""
    directions = int(atoms.pbc.sum())
    found = {WIRE} if directions == 1 else {SLAB} if directions == 2 else set()
    if atoms.cell.rank < 3:
        return found
    cell = atoms.cell.array
    volume, scaled = np.linalg.det(cell), atoms.positions @ np.linalg.inv(cell)
    ways = {LEFT: volume < 0, OUTSIDE: bool((np.abs(scaled - 0.5)[:, atoms.pbc] > 1).any())}
    if directions > 1:
        ways[SKEWED] = abs(volume) < LEANS * atoms.cell.lengths().prod()
    if directions == 3:
        reduced = minkowski_reduce(cell)[0]
        heights = 1 / np.linalg.norm(np.linalg.inv(reduced), axis=0)
        ways[FLAT_CELL] = heights.min() < LOW * np.linalg.norm(reduced, axis=1).max()
    return found | {way for way, is_so in ways.items() if is_so}


def closest(atoms: Atoms) -> tuple[float, float]:
    """The shortest distance over the sum of the covalent radii, and the shortest in A, periodic images included."""
    cell = minkowski_reduce(atoms.cell.complete(), atoms.pbc)[0]  # in which nearest images are next to each other
    shifts = np.array(np.meshgrid(*[(-1, 0, 1) if p else (0,) for p in atoms.pbc], indexing="ij")).reshape(3, -1).T
    between = (atoms.positions[:, None] - atoms.positions) @ np.linalg.inv(cell)
    vectors = (between - between.round() * atoms.pbc)[:, :, None] @ cell - shifts @ cell
    distances = np.linalg.norm(vectors, axis=-1)
    distances[np.diag_indices(len(atoms))] = np.where(shifts.any(axis=1), distances[0, 0], np.inf)
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


def equivalent_cells(pbc: Sequence[bool] = (True, True, True)) -> st.SearchStrategy[NDArray[np.int_]]:
    """Integer matrices of determinant 1 or -1: ``matrix @ cell`` spans the same lattice, written with leaning vectors.

    Only vectors along which the structure is periodic are combined; one of them may change its sign, which makes a
    left-handed cell of a right-handed one.
    """
    along = [index for index in range(3) if pbc[index]]

    def matrix(choice: tuple[list[tuple[tuple[int, int], int]], int]) -> NDArray[np.int_]:
        shears, turned = choice
        found = np.eye(3, dtype=int)
        for (row, other), times in shears:
            found[row] += times * found[other]
        if turned >= 0:
            found[turned] *= -1
        return found

    turns = st.sampled_from([-1, *along])
    pairs = [(i, j) for i in along for j in along if i != j]
    if not pairs:
        return turns.map(lambda turned: matrix(([], turned)))
    shears = st.tuples(st.sampled_from(pairs), st.sampled_from([-2, -1, 1, 2]))
    return st.tuples(st.lists(shears, min_size=1, max_size=3), turns).map(matrix)


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
