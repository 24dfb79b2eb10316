"""A labelled test set becomes a parity case: what was taken, what was left out, and where energies count from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import ase.io
import ase.test
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from faults import load
from sound import Sound

from mlff_probes.cases.importers.labelled_set import SetOptions, labelled_set, zero_of
from mlff_probes.cases.importers.set_quantities import FEWEST, MOST_PARTS
from mlff_probes.cases.importers.stress_check import by_differences, check_stresses
from mlff_probes.cases.writing import Draft, write_case
from mlff_probes.core.errors import InputError
from mlff_probes.core.protocol import LabelKeys
from mlff_probes.core.records import State
from mlff_probes.session.suite import Suite

PBE = SetOptions(level="PBE")
DATA = Path(__file__).parents[1] / "data"
OF_ASE = Path(ase.test.__file__).parent / "testdata" / "vasp"


def frames(count=12, *, symbols="AlCu", stress=True, **info):
    """Rattled, strained crystals with the sound calculator's labels."""
    found = []
    for n in range(count):
        atoms = bulk("Al", a=5.0 + 0.02 * n, cubic=True)
        atoms.symbols = list(Atoms(symbols).symbols) * 2
        atoms.rattle(0.05, seed=n)
        results = Sound().evaluated(atoms)
        if not stress:
            del results["stress"]
        atoms.info |= info
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def renamed(atoms):
    """The same frame with its labels under other names."""
    atoms.info["E_pbe"], atoms.arrays["f_pbe"] = atoms.calc.results["energy"], atoms.calc.results["forces"]
    atoms.calc = None
    return atoms


def written(folder, images, name="set.extxyz"):
    ase.io.write(folder / name, images)
    return str(folder / name)


def test_a_set_is_written_as_a_case_that_the_model_it_was_made_of_passes(tmp_path):
    isolated = Atoms("Al", cell=[20] * 3, pbc=True, info={"config_type": "IsolatedAtom"})
    isolated.calc = SinglePointCalculator(isolated, energy=-1.0, forces=np.zeros((1, 3)))
    bare = bulk("Cu")
    bare.info["config_type"] = "neb"
    images = [*frames(config_type="md 300K"), *frames(10, symbols="Al2", config_type="neb")]
    found = labelled_set([written(tmp_path, [*images, images[0], isolated, bare])], PBE)
    notes = " ".join(found.table.notes)
    assert "Import: Frames left out: 1 copies, 1 isolated atoms, 1 without energy or forces." in notes
    assert [(part.name, part.frames, part.unlabelled, part.stressed) for part in found.parts] == [
        ("md_300K", 12, 0, 12), ("neb", 10, 1, 10),
    ]  # fmt: skip
    assert found.parts[0].elements == ("Al", "Cu")
    file, case = write_case(tmp_path / "cases", Draft("mine", found.table, found.frames))
    assert [f.info["origin"] for f in case.frames] == ["md_300K"] * 12 + ["neb"] * 10
    assert len(case.unlabelled) == 1  # which goes on counting among the samples
    judged = {"energy_mae", "stress_mae", "force_mae_Al", "energy_mae_of_neb"}
    assert judged <= {e.quantity for e in case.expectations}
    assert "shows, 34 meV/A" in case.blind["force_mae_Cu"]  # copper has weak forces here
    assert case.level_of_theory == "PBE"
    suite = Suite([load()], [case])
    assert {suite.result(row).verdict.state for row in suite.requests("parity")} == {State.PASSED, State.REPORTED}
    assert file.with_suffix(".extxyz").exists()


def test_a_charge_of_zero_makes_no_other_structure(tmp_path):
    images = frames(12)
    neutral, charged = images[0].copy(), images[1].copy()
    for copy, charge, original in ((neutral, 0, images[0]), (charged, 1, images[1])):
        copy.info["charge"] = charge
        copy.calc = SinglePointCalculator(copy, **original.calc.results)
    found = labelled_set([written(tmp_path, [*images, neutral, charged])], PBE)
    assert "Frames left out: 1 copies." in " ".join(found.table.notes)
    assert len(found.read.frames) == 13


def test_only_the_labels_that_count_are_written_and_all_else_is_kept(tmp_path):
    (image,) = frames(1, charge=1)
    image.set_constraint(FixAtoms([0]))
    image.calc.results["forces"][0] = 0.0
    image.info["dft_energy"] = image.calc.results["energy"]
    image.info["dipole"] = np.ones(3)
    keys = LabelKeys(energy_key="E_pbe", forces_key="f_pbe")
    (mine,) = labelled_set([written(tmp_path, [renamed(image)])], SetOptions(level="PBE", keys=keys)).frames
    assert set(mine.info) == {"charge", "origin", "taken_from"}
    assert set(mine.arrays) == {"numbers", "positions"}
    assert mine.constraints[0].index.tolist() == [0]
    assert set(mine.calc.results) == {"energy", "forces"}


def test_several_files_name_the_origins_of_frames_that_name_none(tmp_path):
    one, other = frames(2), frames(3, symbols="Al2")
    files = [written(tmp_path, one, "md-300K.extxyz"), written(tmp_path, other, "neb.2.extxyz")]
    assert [part.name for part in labelled_set(files, PBE).parts] == ["neb", "md_300K"]
    assert [part.name for part in labelled_set([str(tmp_path / "*.extxyz")], PBE).parts] == ["neb", "md_300K"]
    assert [part.name for part in labelled_set(files[:1], PBE).parts] == ["all"]
    tagged = [*frames(2, phase="hot"), *frames(3, symbols="Al2")]
    by = labelled_set([written(tmp_path, tagged)], SetOptions(level="PBE", by="phase"))
    assert [part.name for part in by.parts] == ["without_phase", "hot"]


@pytest.mark.parametrize("names", [("md 300K", "md-300K"), ("hot", "hot?")])
def test_two_origins_never_become_one_in_silence(tmp_path, names):
    one, other = names
    images = [*frames(2, config_type=one), *frames(3, symbols="Al2", config_type=other)]
    says = rf"set\.extxyz: the origins '{re.escape(one)}' and '{re.escape(other)}' would both be called '(md_300K|hot)'"
    with pytest.raises(InputError, match=says):
        labelled_set([written(tmp_path, images)], PBE)


def test_an_output_states_its_level_and_its_stress():
    found = labelled_set([str(OF_ASE / "vasprun_pstress.xml")], SetOptions())
    assert found.table.reference.level_of_theory == "LDA"
    assert "imported from vasprun_pstress.xml: VASP 6.3.0, LDA" in found.table.reference.source
    assert [part.stressed for part in found.parts] == [len(found.frames)]
    with pytest.raises(InputError, match="was computed with LDA, but --level says PBE"):
        labelled_set([str(OF_ASE / "vasprun_pstress.xml")], PBE)


def test_single_points_of_cp2k_are_read_as_it_printed_them():
    found = labelled_set([str(DATA / "cp2k" / "pbesol_d3.out.gz")], SetOptions(energy_reference="absolute"))
    (frame,), stored = found.read.frames, found.read.stored
    assert found.table.reference.level_of_theory == "PBEsol+D3(BJ)"
    assert stored.forces[0].shape == (len(frame), 3)
    assert frame.get_potential_energy() == stored.energies[0] < 0


def test_an_output_is_called_as_its_folder(tmp_path):
    (tmp_path / "run 1").mkdir()
    shutil.copy(OF_ASE / "vasprun_pstress.xml", tmp_path / "run 1" / "vasprun.xml")
    files = [str(tmp_path / "run 1" / "vasprun.xml"), written(tmp_path, frames(1), "my_vasprun.extxyz")]
    assert {part.name for part in labelled_set(files, SetOptions(level="LDA")).parts} == {"run_1", "my_vasprun"}


def test_a_database_names_origins_by_its_keys(tmp_path):
    with connect(tmp_path / "set.db") as rows:
        for row, atoms in enumerate(frames(3)):
            rows.write(atoms, config_type="cold" if row else "hot")
    assert {part.name for part in labelled_set([str(tmp_path / "set.db")], PBE).parts} == {"hot", "cold"}


@pytest.mark.parametrize(
    ("names", "chosen", "why"),
    [
        (["AlCu"] * 19 + ["Al"], "composition", "19 of 20 frames share their composition with others"),
        (["AlCu", "Al2Cu", "AlCu2", "AlCu3", "Al3Cu"], "elements", "5 of 5 frames are alone in their composition, so"),
        (["AlCu", "Al2Cu"], "composition", "needs more frames than elements"),
        (["AlCu", "AlCu", "AlCuFe", "AlCuFe2", "AlCuFe3"], "composition", "cannot tell the energies of Al, Cu apart"),
    ],
)
def test_the_zero_of_energies_is_chosen_for_the_set(names, chosen, why):
    reference, said = zero_of([Atoms(name) for name in names])
    assert reference == chosen
    assert why in said


def test_what_stands_on_too_little_is_reported_and_said(tmp_path):
    images = [*frames(12), *frames(2, symbols="Al2", stress=False)]
    images += [renamed(image) for image in frames(1)]
    found = labelled_set([written(tmp_path, images)], PBE)
    judged = {row.quantity for row in found.table.expectation}
    assert "stress_mae" in found.table.report
    assert judged >= {"energy_mae", "force_mae", "force_mae_Al"}
    assert "stress_mae is only reported: it stands on 12 of 15 frames; 2 without a stress" in " ".join(
        found.table.notes
    )
    alone = [frames(1, symbols=name)[0] for name in ("AlCu", "Al2")]
    found = labelled_set([written(tmp_path, alone)], PBE)
    assert "energy_mae is not measured: no energy can be judged: all 2 frames are alone" in " ".join(found.table.notes)
    assert not any(row.quantity.startswith("energy") for row in found.table.expectation)


def test_rare_parts_are_reported_and_very_many_have_no_rows(tmp_path):
    images = [atoms for n in range(MOST_PARTS + 1) for atoms in frames(2 if n else FEWEST, config_type=f"c{n}")]
    for n, atoms in enumerate(images):
        atoms.positions += 1e-3 * n
    found = labelled_set([written(tmp_path, images)], PBE)
    assert "force_mae_of_c0" in {row.quantity for row in found.table.expectation}
    assert "force_mae_of_c1" in found.table.report
    assert f"force_mae_of_c{MOST_PARTS}" not in found.table.report
    assert f"Of {MOST_PARTS + 1} origins, the {MOST_PARTS} largest have rows" in " ".join(found.table.notes)


def test_uncertainties_are_those_that_are_stated(tmp_path):
    options = SetOptions(level="PBE", uncertainty={"force": 20.0})
    found = labelled_set([written(tmp_path, frames(3))], options)
    stated = {row.quantity: row.uncertainty for row in found.table.expectation}
    assert (stated["force_mae"], stated["energy_mae"]) == (20.0, 0.0)
    assert "No uncertainty of the labels was stated for energy, stress: taken as exact." in found.table.notes


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        (["set.extxyz"], SetOptions(), "does not say at which level of theory it was computed; say so: --level=PBE"),
        (["nothing.extxyz"], PBE, "there is no such file"),
        (["n*.extxyz"], PBE, "there is no such file"),
        (["."], PBE, "is a folder; name the files in it"),
        (
            ["set.extxyz"],
            SetOptions(level="PBE", by="phase"),
            "no frame has 'phase' in its comment line; they have head",
        ),
        (["set.extxyz"], SetOptions(level="PBE", keys=LabelKeys(energy_key="E")), "no frame has energy under 'E'"),
        (["set.extxyz"], SetOptions(level="PBE", energy_reference="elements"), "needs more frames than elements"),
        (["bare.extxyz"], PBE, "no frame carries both an energy and forces"),
    ],
)
def test_what_cannot_be_used(tmp_path, names, options, says):
    written(tmp_path, frames(2, head="pbe"))
    written(tmp_path, [bulk("Al")], "bare.extxyz")
    with pytest.raises(InputError, match=says.replace("'", ".")):
        labelled_set([str(tmp_path / name) for name in names], options)


# Which unit, sign and order a stress has


def stresses(images):
    return np.array([Sound().evaluated(atoms)["stress"] for atoms in images])


def test_finite_differences_are_the_stress(tmp_path):
    (image,) = frames(1)
    assert by_differences(load(), image) == pytest.approx(stresses([image])[0], rel=1e-3, abs=1e-6)


def test_right_labels_agree_whatever_model_checks_them(tmp_path):
    images = frames(7)
    assert check_stresses(load(), images, 1.3 * stresses(images), "x").frames == 5
    assert check_stresses(load(), images, stresses(images), "x").error_gpa < 1e-3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s, v: -s, "a pressure in eV/A^3, of the other sign"),
        (lambda s, v: s / units.GPa, "a stress in GPa"),
        (lambda s, v: -10 * s / units.GPa, "a pressure in kbar, as VASP prints it"),
        (lambda s, v: -s * v, "a virial in eV"),
        (lambda s, v: s[:, [0, 1, 2, 5, 3, 4]], "a stress in VASP's order of components"),
    ],
)
def test_wrong_units_signs_and_orders_are_told(change, says):
    images = [atoms.repeat((1, 1, 1 + n % 2)) for n, atoms in enumerate(frames(4, symbols="Al2"))]
    for n, atoms in enumerate(images):
        strain = np.random.default_rng(n).uniform(-0.05, 0.05, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    volumes = np.array([[atoms.get_volume()] for atoms in images])
    with pytest.raises(InputError, match="looks like") as caught:
        check_stresses(load(), images, change(stresses(images), volumes), "x")
    assert says in str(caught.value)


def test_a_calculator_that_cannot_tell():
    images = frames(3)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(3, 6))
    with pytest.raises(InputError, match="cannot be checked: it is off from finite differences of sound by"):
        check_stresses(load(), images, noise, "x")
    with pytest.raises(InputError, match="sound knows the elements of no frame with a stress"):
        check_stresses(load(), [bulk("W")], noise[:1], "x")
