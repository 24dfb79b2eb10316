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
        ({"NELECT": 17.0, "uhf": 1, "net_charge": -1}, {"NELECT": 102.0, "uhf": 6, "net_charge": -6}),
        ({"Multiplicity": 3, "n_electrons": 8}, {"Multiplicity": 13, "n_electrons": 48}),
        ({"temperature": 300.0, "kpoints": [3, 3, 2]}, {"temperature": 300.0, "kpoints": [3, 3, 2]}),
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


@pytest.mark.parametrize(("name", "axial"), [("External_Field", False), ("efield", False), ("magnetic_field", True)])
def test_fields_turn_by_their_kind(name, axial):
    atoms = Atoms("Fe", cell=[3, 4, 5], pbc=True, info={name: [2, 0, 1]})
    np.testing.assert_allclose(derived(atoms, turned=QUARTER_TURN).info[name], [0, 2, 1])
    mirrored = derived(atoms, turned=np.diag([-1.0, 1.0, 1.0])).info[name]
    np.testing.assert_allclose(mirrored, [2, 0, -1] if axial else [-2, 0, 1])


def test_vectors_of_a_name_that_nobody_knows_are_dropped_and_said():
    """Whole numbers, words and what belongs to no direction stay."""
    kept = {"kpoints": [3, 3, 2], "label": ["a", "b", "c"], "weights": [0.1, 0.2], "nested": [[1.0], [2.0, 3.0]]}
    atoms = Atoms("H2O", cell=[3, 4, 5], pbc=True, info={**kept, "wind": [0.1, 0.0, 0.3], "strain": np.eye(3)})
    atoms.set_array("drive", np.ones((3, 3)))
    atoms.set_array("spins", np.tile([1.0, 0.0, 0.0], (3, 1)))
    atoms.set_initial_charges([-0.8, 0.4, 0.4])
    atoms.set_tags([1, 2, 3])
    with pytest.warns(DroppedState) as said:
        found = derived(atoms, turned=QUARTER_TURN)
    assert sorted(str(each.message) for each in said) == [
        f"{name}: it may be a vector, and nobody knows how it turns" for name in ("drive", "strain", "wind")
    ]
    assert found.info == kept
    np.testing.assert_allclose(found.arrays["spins"], np.tile([0.0, 1.0, 0.0], (3, 1)))
    assert found.get_initial_charges().tolist() == [-0.8, 0.4, 0.4]
    assert {"wind", "strain"} < set(derived(atoms, positions=np.ones((3, 3))).info)


@pytest.mark.usefixtures("nothing_said")
def test_how_atoms_move_and_what_was_computed_of_them_belong_to_one_structure():
    atoms = Atoms("Fe2", [[0, 0, 0], [1, 2, 0]], cell=[3, 4, 5], pbc=True)
    for name in ("velocities", "vel", "dft_dipoles", "forces"):
        atoms.set_array(name, np.ones((2, 3)))
    assert set(derived(atoms, turned=QUARTER_TURN).arrays) == {"numbers", "positions"}


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
