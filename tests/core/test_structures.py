"""Structures made of others carry what a model may read, and say what they cannot carry."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixInternals

from mlff_probes.core.structures import DroppedState, copied, derived, made, settings, state

QUARTER_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.fixture
def cation():
    """Two atoms with all that a file may state of them, and with results."""
    info = {"charge": 1, "spin": 2, "head": "pbe", "REF_energy": -3.0, "dft_stress": np.zeros(6), "Energy": 1.0}
    atoms = Atoms("NaCl", [[0, 0, 0], [2.7, 0.1, 0]], cell=[5.4, 5.5, 5.6], pbc=True, info=info, tags=[3, 4])
    atoms.set_initial_magnetic_moments([1.0, -0.5])
    atoms.set_initial_charges([0.9, 0.1])
    atoms.set_momenta(np.ones((2, 3)))
    atoms.set_array("REF_forces", np.ones((2, 3)))
    atoms.set_array("site", np.array([7, 8]))
    atoms.set_constraint(FixAtoms([1]))
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0)
    return atoms


@pytest.fixture
def nothing_said():
    """Dropping anything is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DroppedState)
        yield


@pytest.mark.usefixtures("nothing_said")
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"positions": [[0, 0, 0.1], [2.6, 0, 0]]},
        {"cell": np.diag([5.0, 5.0, 6.0]), "scale_atoms": True},
        {"turned": QUARTER_TURN},
        {"order": [0, 1]},
        {"repeat": (1, 1, 1)},
    ],
    ids=lambda change: "-".join(change) or "as it is",
)
def test_it_carries_the_system_but_no_results(cation, change):
    found = derived(cation, **change)
    assert found.info == {"charge": 1, "spin": 2, "head": "pbe"}
    assert set(found.arrays) == {"numbers", "positions", "tags", "initial_magmoms", "initial_charges", "site"}
    assert found.get_initial_magnetic_moments().tolist() == [1.0, -0.5]
    assert found.constraints[0].get_indices().tolist() == [1]
    assert found.calc is None
    assert cation.calc is not None
    assert cation.info["REF_energy"] == -3.0


def test_positions_and_cells_are_those_asked_for_whatever_is_held(cation):
    assert derived(cation, positions=np.ones((2, 3))).positions.tolist() == np.ones((2, 3)).tolist()
    strained = derived(cation, cell=cation.cell.array * 1.5, scale_atoms=True)
    np.testing.assert_allclose(strained.positions, cation.positions * 1.5)
    assert not derived(cation, constraints=False).constraints


@pytest.mark.usefixtures("nothing_said")
@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"charge": 1, "spin": 2}, {"charge": 6, "spin": 7}),
        ({"total_charge": -0.5, "total_spin": 1}, {"total_charge": -3.0, "total_spin": 1}),
        ({"charge": 0, "spin": 0, "head": "b"}, {"charge": 0, "spin": 0, "head": "b"}),
    ],
)
def test_charge_and_spin_grow_with_the_copies(cation, stated, expected):
    cation.info = dict(stated)
    found = derived(cation, repeat=(1, 3, 2))
    assert found.info == expected
    assert found.get_tags().tolist() == [3, 4] * 6
    assert found.get_initial_magnetic_moments().sum() == pytest.approx(3.0)


def test_a_part_of_the_atoms_has_no_charge_that_anybody_knows(cation):
    with pytest.warns(DroppedState, match=r"(charge=1|spin=2): nobody knows how much"):
        found = derived(cation, order=[1])
    assert found.info == {"head": "pbe"}
    assert found.get_tags().tolist() == [4]


@pytest.mark.usefixtures("nothing_said")
def test_a_part_of_what_is_neutral_says_nothing(cation):
    cation.info = {"charge": 0}
    assert derived(cation, order=[0]).info == {"charge": 0}


def test_what_cannot_be_repeated_is_said():
    water = molecule("H2O", cell=[6.0] * 3, pbc=True, info={"charge": "plus one"})
    water.set_constraint(FixInternals(bonds=[[0.97, [0, 1]]]))
    with pytest.warns(DroppedState) as said:
        found = derived(water, repeat=(2, 1, 1))
    assert len(found) == 6
    assert not found.constraints
    assert sorted(str(w.message).partition(":")[0] for w in said) == ["charge=plus one", "constraints"]


def test_vectors_turn_with_the_structure_and_moments_as_axial_vectors():
    atoms = Atoms(
        "Fe2", [[0, 0, 0], [1, 2, 0]], cell=[3, 4, 5], pbc=True, info={"electric_field": np.array([1.0, 0, 0])}
    )
    atoms.set_initial_magnetic_moments([[1.0, 0, 0], [0, 0, 2.0]])
    found = derived(atoms, turned=QUARTER_TURN)
    np.testing.assert_allclose(found.positions[1], [-2, 1, 0])
    np.testing.assert_allclose(found.info["electric_field"], [0, 1, 0])
    np.testing.assert_allclose(found.get_initial_magnetic_moments(), [[0, 1, 0], [0, 0, 2]])
    mirrored = derived(atoms, turned=np.diag([1.0, 1.0, -1.0]))
    np.testing.assert_allclose(mirrored.get_initial_magnetic_moments(), [[-1, 0, 0], [0, 0, 2]])


def test_a_copy_keeps_results_but_no_calculator(cation):
    found = copied(cation)
    assert found.info["REF_energy"] == -3.0
    assert found.has("momenta")
    assert found.calc is None


def test_what_is_made_of_nothing_is_neutral():
    assert made("H", cell=[9.0] * 3).info == {"charge": 0}
    assert made("H", cell=[9.0] * 3, info={"head": "pbe"}).info == {"charge": 0, "head": "pbe"}


def test_settings_are_the_words_that_all_structures_share(cation):
    other = cation.copy()
    assert settings([cation, other]) == {"head": "pbe"}
    other.info["head"] = "r2scan"
    assert settings([cation, other]) == settings([]) == {}


def test_the_state_holds_what_is_no_result(cation):
    found = state(cation)
    assert found == {
        "charge": 1, "spin": 2, "head": "pbe", "tags": [3, 4],
        "initial_magmoms": [1.0, -0.5], "initial_charges": [0.9, 0.1],
    }  # fmt: skip
    assert not state(Atoms("Ar", masses=[39.0]))
