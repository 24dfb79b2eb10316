"""Random structures stay within what is said of them, and are the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list
from hypothesis import strategies as st

from mlff_probes.methods.random_structures import (
    LONGEST_A,
    MOST_ATOMS,
    MOST_ELEMENTS,
    SHORTEST_A,
    TOUCHING_TO_LOOSE,
    UNUSUAL,
    closest,
    directions,
    drawn,
    equivalent_cells,
    oddities,
    rotations,
    strains,
    structures,
    unusual,
    written_otherwise,
)

ELEMENTS = ("Al", "Cr", "Cu", "H", "Sb", "Te", "Cs")
NUMBER = 60
DIGEST = """
import hashlib
{imports}
from hypothesis import strategies as st
from mlff_probes.methods.random_structures import drawn, rotations, structures

found = hashlib.sha256()
for atoms, matrix in drawn(st.tuples(structures(["Cr", "Sb", "Te"]), rotations()), 10):
    for part in (atoms.numbers.astype("<i8"), atoms.positions.round(9) + 0.0, matrix.round(9) + 0.0):
        found.update(part.tobytes())
print(found.hexdigest())
"""


@pytest.fixture(scope="module")
def found() -> list[Atoms]:
    return drawn(structures(ELEMENTS), NUMBER)


def test_structures_are_of_the_elements_and_sizes_that_are_stated(found):
    assert len(found) == NUMBER
    assert {symbol for atoms in found for symbol in atoms.symbols} == set(ELEMENTS)
    assert all(1 <= len(atoms) <= MOST_ATOMS and len(set(atoms.symbols)) <= MOST_ELEMENTS for atoms in found)
    assert len({len(atoms) for atoms in found}) > 3
    assert {atoms.pbc.sum() for atoms in found} == {1, 2, 3}


def test_structures_have_no_close_contacts_and_no_lonely_atoms(found):
    """By ASE's neighbour list, which finds images that `closest` might miss."""
    low, high = TOUCHING_TO_LOOSE
    for atoms in found:
        first, second, distances = neighbor_list("ijd", atoms, 2 * LONGEST_A)
        radii = covalent_radii[atoms.numbers]
        ratios = distances / (radii[first] + radii[second])
        assert closest(atoms) == pytest.approx((ratios.min(), distances.min()))
        assert distances.min() > SHORTEST_A - 1e-9
        assert distances.min() < LONGEST_A + 1e-9
        assert ratios.min() > low - 1e-9 or distances.min() == pytest.approx(LONGEST_A)
        assert ratios.min() < high + 1e-9 or distances.min() == pytest.approx(SHORTEST_A)


def test_unusual_cells_are_among_them_and_said_to_be(found):
    left = [np.linalg.det(atoms.cell.array) < 0 for atoms in found]
    assert left == ["left-handed cell" in oddities(atoms) for atoms in found]
    assert 0.25 < np.mean(left) < 0.75
    assert 0.15 < np.mean([not atoms.pbc.all() for atoms in found]) < 0.5
    assert any("periodic in 1 direction" in oddities(atoms) for atoms in found)
    heights = [1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0) for atoms in found]
    lengths = [atoms.cell.lengths() for atoms in found]
    leaning = [atoms.cell.volume / np.prod(atoms.cell.lengths()) for atoms in found]
    assert min(h.min() / length.max() for h, length in zip(heights, lengths, strict=True)) < 0.15
    assert min(leaning) < 0.2
    outside = [np.abs(atoms.get_scaled_positions(wrap=False)[:, atoms.pbc]).max() > 1.2 for atoms in found]
    assert 0.1 < np.mean(outside) < 0.6


@pytest.mark.parametrize("elements", [("H",), ELEMENTS], ids=len)
@pytest.mark.parametrize("kind", UNUSUAL)
def test_structures_of_one_kind_alone(kind, elements):
    """Seen by ASE: handedness, angles, heights of the reduced cell, and coordinates of the atoms."""
    examples = drawn(structures(elements, {"head": "pbe"}, kind), 5)
    assert len(examples) == 5
    for atoms in examples:
        lengths = atoms.cell.niggli_reduce()[0].lengths()
        assert kind in unusual(atoms)
        assert atoms.info == {"charge": 0, "head": "pbe"}
        seen = {
            "periodic in one direction": atoms.pbc.sum() == 1,
            "periodic in two directions": atoms.pbc.sum() == 2,
            "left-handed cell": atoms.cell.handedness == -1,
            "skewed cell": np.abs(np.cos(np.radians(atoms.cell.angles()))).max() > 0.5,
            "flat cell": atoms.pbc.all() and lengths.min() < 0.6 * lengths.max(),
            "atoms outside the cell": np.abs(atoms.get_scaled_positions(wrap=False)[:, atoms.pbc] - 0.5).max() > 1,
        }  # fmt: skip
        assert seen[kind]
        assert neighbor_list("d", atoms, 2 * LONGEST_A).min() > SHORTEST_A - 1e-9


def test_an_ordinary_structure_is_not_unusual():
    assert unusual(bulk("Cu", cubic=True)) == unusual(bulk("Cu")) == unusual(molecule("H2O")) == set()


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, False)])
def test_what_is_written_otherwise_is_the_same_structure(pbc):
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.rattle(0.1, seed=3)
    atoms.pbc = pbc
    atoms.info["charge"] = 1

    def seen(frame: Atoms) -> np.ndarray:
        return np.sort(neighbor_list("d", frame, 5.0))

    examples = drawn(written_otherwise(atoms), 25)
    assert len({frame.cell.array.tobytes() for frame in examples}) > 2
    for frame in examples:
        np.testing.assert_allclose(seen(frame), seen(atoms), atol=1e-9)
        assert frame.pbc.sum() == sum(pbc)
        assert frame.info == {"charge": 1}


def test_a_molecule_has_no_cell_to_rewrite():
    water = molecule("H2O")
    assert all((frame.positions == water.positions).all() for frame in drawn(written_otherwise(water), 4))
    assert oddities(water) == ["periodic in 0 directions"]


def test_an_element_of_its_own_and_the_largest_atoms():
    assert {atoms.get_chemical_formula()[0] for atoms in drawn(structures(["H"]), 5)} == {"H"}
    assert covalent_radii[atomic_numbers["Cs"]] * 2 > LONGEST_A  # so that its bounds are those in A
    assert all(closest(atoms)[1] < LONGEST_A + 1e-9 for atoms in drawn(structures(["Cs"]), 5))


def test_rotations_are_proper_and_spread():
    matrices = np.array(drawn(rotations(), NUMBER))
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(3), matrices.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1.0)
    turns = np.degrees(np.arccos((np.trace(matrices, axis1=1, axis2=2) - 1) / 2))
    assert turns.min() < 60
    assert turns.max() > 150
    assert np.abs(matrices.mean(axis=0)).max() < 0.3


def test_equivalent_cells_span_the_same_lattice():
    matrices = drawn(equivalent_cells(), NUMBER)
    assert all(np.issubdtype(matrix.dtype, np.integer) for matrix in matrices)
    determinants = [round(np.linalg.det(matrix)) for matrix in matrices]
    assert set(determinants) == {1, -1}
    assert max(np.abs(matrix).max() for matrix in matrices) >= 2


def test_only_periodic_vectors_are_combined():
    for matrix in drawn(equivalent_cells((True, False, True)), NUMBER):
        assert (matrix[1] == [0, 1, 0]).all()
        assert (matrix[:, 1] == [0, 1, 0]).all()
    wires = drawn(equivalent_cells((False, False, True)), 10)
    assert {tuple(np.diag(matrix)) for matrix in wires} == {(1, 1, 1), (1, 1, -1)}


def test_directions_are_of_one_atom_or_of_all():
    moving = [np.count_nonzero(field.any(axis=1)) for field in drawn(directions(5), NUMBER)]
    assert 1 in moving
    assert 5 in moving
    for size, strategy in ((15, directions(5)), (9, strains())):
        for field in drawn(strategy, NUMBER):
            assert field.size == size
            assert np.linalg.norm(field) == pytest.approx(1.0)


def test_strains_are_symmetric():
    for strain in drawn(strains(), NUMBER):
        np.testing.assert_array_equal(strain, strain.T)


def test_draws_are_repeated():
    one, other = (drawn(st.floats(0.0, 1.0), 20) for _ in range(2))
    assert one == other
    assert len(set(one)) > 10


def test_examples_are_the_same_in_every_process_whatever_else_is_imported(tmp_path):
    """Hypothesis collects constants from the user's own modules, and remembers them in a folder: not here."""
    (tmp_path / "mine.py").write_text("NUMBERS = (0.123456789, 0.987654321, 0.5555, 17)\nNAMES = ('Sb', 'Te')\n")
    outputs = set()
    for seed, imports in (("0", ""), ("1", "import mine, ase.calculators.emt"), ("2", "import scipy.optimize")):
        command = [sys.executable, "-c", DIGEST.format(imports=imports)]
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
