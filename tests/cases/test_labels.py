"""Labels under the names that codes, training sets and people give them: found, agreed upon, and said."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_probes.cases.frames import labelled_frames
from mlff_probes.cases.labels import frame_labels, how_to_map
from mlff_probes.core.errors import InputError
from mlff_probes.core.protocol import LabelKeys

CELL = 3.1 * np.eye(3)
ENERGY, FORCES = -7.25, np.array([[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]])


def frame(x=0.0, *, info=None, arrays=None, **results):
    atoms = Atoms("NaCl", positions=[[0, 0, 0], [1.5 + x, 1.5, 1.5]], cell=CELL, pbc=True, info=info)
    atoms.arrays.update(arrays or {})
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def labels(atoms, **keys):
    return frame_labels(atoms, LabelKeys(**keys), "set.extxyz", 3)


DIALECTS = [
    ("REF_energy", "REF_forces"),
    ("DFT_energy", "DFT_forces"),
    ("dft_Energy", "dft_force"),
    ("Energy", "Force"),
    ("ref_energy", "forces"),
    ("free_energy", "FORCES"),
]


@pytest.mark.parametrize(("energy", "forces"), DIALECTS)
def test_usual_names_in_capitals_or_not(energy, forces):
    found = labels(frame(info={energy: ENERGY}, arrays={forces: FORCES}))
    assert found.values["energy"] == ENERGY
    np.testing.assert_array_equal(found.values["forces"], FORCES)
    assert found.names == {"energy": energy, "forces": forces}


def test_the_energy_counts_and_not_the_free_energy_as_in_ase():
    assert labels(frame(energy=ENERGY, free_energy=ENERGY - 0.4)).names["energy"] == "energy"
    assert labels(frame(info={"dft_energy": ENERGY, "free_energy": -9.0})).values["energy"] == ENERGY
    assert labels(frame(free_energy=-9.0, forces=FORCES)).values["energy"] == -9.0


def test_what_a_model_wrote_beside_the_labels_is_none():
    found = labels(frame(energy=ENERGY, info={"mace_energy": 5.0}, arrays={"model_forces": FORCES}))
    assert found.values == {"energy": ENERGY}


@pytest.mark.parametrize(
    ("info", "arrays", "what"),
    [({"DFT_energy": 1.0}, {}, "energy"), ({}, {"dft_forces": FORCES + 1}, "forces")],
)
def test_two_labels_that_differ_are_refused_until_one_is_named(info, arrays, what):
    atoms = frame(energy=ENERGY, forces=FORCES, info=info, arrays=arrays)
    other = next(iter({**info, **arrays}))
    with pytest.raises(InputError) as caught:
        labels(atoms)
    assert str(caught.value) == (
        f"set.extxyz: frame 3 has two different labels, '{what}' and '{other}'; say which one counts: "
        f'{what}_key = "{what}" or {what}_key = "{other}"'
    )
    assert labels(atoms, **{f"{what}_key": other}).names[what] == other
    assert labels(atoms, **{f"{what}_key": what}).names[what] == what


def test_a_name_that_is_stated_is_the_only_one_looked_for():
    atoms = frame(energy=1.0, info={"E_pbe": ENERGY}, arrays={"F": FORCES})
    found = labels(atoms, energy_key="E_pbe", forces_key="F")
    assert found.values["energy"] == ENERGY
    assert "energy" not in labels(atoms, energy_key="e_PBE").values


VIRIAL = [[1.0, 0.4, 0.0], [0.4, 2.0, 0.0], [0.0, 0.0, 3.0]]
STRESS = -np.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.4]) / 3.1**3


@pytest.mark.parametrize("name", ["virial", "REF_virials", "dft_Virials"])
def test_a_virial_is_a_stress_with_the_sign_of_ase(name):
    np.testing.assert_allclose(labels(frame(info={name: VIRIAL})).values["stress"], STRESS)


def test_a_stress_is_taken_under_its_stated_name_alone():
    atoms = frame(info={"sigma": STRESS, "dft_stress": np.zeros(9)})
    np.testing.assert_allclose(labels(atoms, stress_key="sigma").values["stress"], STRESS)
    np.testing.assert_allclose(labels(atoms).values["stress"], 0.0)


@pytest.mark.parametrize("stored", ["large", [1.0, 2.0]])
def test_a_stress_that_is_none_is_no_obstacle_unless_it_was_stated(stored):
    atoms = frame(energy=ENERGY, forces=FORCES, info={"virials": stored})
    assert set(labels(atoms).values) == {"energy", "forces"}
    with pytest.raises(InputError, match=r"frame 3 has stress \('virials'\)"):
        labels(atoms, stress_key="virials")


UNKNOWN = {
    "both": (
        {"info": {"E0": 1.0, "image": 2, "vasp_energy": 2.0}, "arrays": {"f_vasp": FORCES, "vasp_forces": FORCES}},
        "found in the comment lines vasp_energy, E0, per atom vasp_forces, f_vasp; if these are labels, say so: "
        'energy_key = "vasp_energy" and forces_key = "vasp_forces"',
    ),
    "forces alone": (
        {"info": {"energy": 1.0, "E0": 1.0}, "arrays": {"f_vasp": FORCES}},
        'found per atom f_vasp; if these are labels, say so: forces_key = "f_vasp"',
    ),
    "energies of atoms": ({"arrays": {"forces": FORCES, "energies": np.ones(2)}}, "found per atom energies"),
    "no numbers": (
        {"info": {"path": [[1, 2], [3]], "done": True}},
        "there are no other numbers that could be energy or forces",
    ),
    "nothing": ({"info": {"note": "mine"}}, "there are no other numbers that could be energy or forces"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_names_that_were_found_and_the_lines_that_map_them(kind):
    stored, says = UNKNOWN[kind]
    assert how_to_map([frame(**stored)]) == says


def test_a_set_of_several_dialects_is_read_as_a_whole_and_said_to_be(tmp_path):
    frames = [frame(0.01 * i, info={"DFT_energy": i}, arrays={"DFT_forces": FORCES}) for i in range(3)]
    frames += [frame(0.2, energy=ENERGY, forces=FORCES)]
    for part in (frames[:3], frames[3:]):
        ase.io.write(tmp_path / "set.extxyz", part, format="extxyz", append=True)
    read = labelled_frames([(None, tmp_path / "set.extxyz")], where="here")
    assert read.stored.energies.tolist() == [0.0, 1.0, 2.0, ENERGY]
    assert read.unlabelled == ()
    assert read.notes == (
        "Labels: energy from 'DFT_energy' (3 of them) and 'energy' (1 of them), "
        "forces from 'DFT_forces' (3 of them) and 'forces' (1 of them).",
    )


def test_stresses_that_contradict_each_other_are_said(tmp_path):
    both = frame(energy=ENERGY, forces=FORCES, info={"dft_stress": STRESS, "REF_stress": 2 * np.array(STRESS)})
    ase.io.write(tmp_path / "set.extxyz", [both], format="extxyz")
    notes = labelled_frames([(None, tmp_path / "set.extxyz")], where="here").notes
    (note,) = (note for note in notes if "cannot be read" in note)
    assert note.startswith("The stress of 1 of 1 frames cannot be read: frame 0 ")
    assert "dft_stress" in note


@pytest.mark.parametrize("said", ["isolated_atom", "IsolatedAtom", "isolated atom", "ISOLATED-ATOMS"])
@pytest.mark.parametrize("length", [6.0, 15.0])
def test_isolated_atoms_by_any_name_whatever_the_box(tmp_path, said, length):
    alone = Atoms("Na", cell=length * np.eye(3), pbc=True, info={"config_type": said})
    alone.calc = SinglePointCalculator(alone, energy=-1.0, forces=np.zeros((1, 3)))
    ase.io.write(tmp_path / "set.extxyz", [alone, frame(energy=ENERGY, forces=FORCES)], format="extxyz")
    read = labelled_frames([(None, tmp_path / "set.extxyz")], where="here")
    assert len(read.frames) == 1
    assert read.notes == ("Frames left out: 1 isolated atoms.",)


def test_what_is_no_single_atom_is_no_isolated_atom_whatever_it_is_called(tmp_path):
    named = frame(energy=ENERGY, forces=FORCES)
    named.info["config_type"] = "isolated_atom"
    ase.io.write(tmp_path / "set.extxyz", [named], format="extxyz")
    read = labelled_frames([(None, tmp_path / "set.extxyz")], where="here")
    assert (len(read.frames), read.notes) == (1, ())


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"forces_key": "f_vaps"}, "here: no frame has forces under 'f_vaps'; found per atom forces, f_vasp; if these"),
        ({"energy_key": "E0"}, "here: no frame has energy under 'E0'; found in the comment lines energy; if these are"),
        (
            {"stress_key": "sigma"},
            "here: no frame has stress under 'sigma'; found in the comment lines stress, wall; if these",
        ),
    ],
)
def test_a_stated_name_that_no_frame_of_a_set_has_is_named(tmp_path, stated, says):
    stored = {"arrays": {"f_vasp": FORCES}, "info": {"wall": np.eye(3), "stress": STRESS}}
    frames = [frame(0.01 * i, energy=ENERGY, forces=FORCES, **stored) for i in range(3)]
    ase.io.write(tmp_path / "set.extxyz", frames, format="extxyz")
    with pytest.raises(InputError) as caught:
        labelled_frames([(None, tmp_path / "set.extxyz")], where="here", keys=LabelKeys(**stated))
    assert str(caught.value).startswith(says)
