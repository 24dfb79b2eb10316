"""`mlff-probes import frames`: what a user sees, and what lies on the disk afterwards."""

from __future__ import annotations

import ase.io
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_probes.cli import main


def write_set(file, *, sign=1.0):
    images = []
    for n in range(12):
        atoms = bulk("Cu", a=3.5 + 0.02 * n, cubic=True)
        atoms.rattle(0.1, seed=n)
        atoms.calc = EMT()
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.info["config_type"] = "hot" if n % 2 else "cold"
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=sign * stress)
        images.append(atoms)
    ase.io.write(file, images)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "my-set.extxyz")
    return tmp_path


def test_a_test_set_becomes_a_case_and_its_command_is_said(here, capsys):
    options = ["--level=EMT", "--to=cases", "--uncertainty-energy=1", "--check-stress=ase:EMT"]
    assert main(["import", "frames", "my-set.extxyz", *options]) == 0
    text = capsys.readouterr().out
    assert "12 frames with 48 atoms are judged" in text
    assert "cold          6" in text
    assert 'Energies count from "composition": 12 of 12 frames share their composition' in text
    assert "stress: unit and sign agree with finite differences of EMT on 5 frames" in text
    assert "taken as exact" in text
    assert "--calculator=chgnet --probe-reference=cases -k my_set" in text
    assert sorted(file.name for file in (here / "cases" / "parity").iterdir()) == ["my_set.extxyz", "my_set.toml"]
    assert main(["list", "--reference=cases", "--reference-only", "my_set"]) == 0
    assert "stress_mae" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "my-set.extxyz: does not say at which level of theory it was computed; say so: --level=PBE"),
        (["--level=EMT", "--check-stress=ase:EMT"], "looks like a pressure in eV/A^3, of the other sign"),
        (["--level=EMT", "--by=phase"], "no frame has 'phase' in its comment line"),
        (["--level=EMT", "--uncertainty-force=900"], "is below the uncertainty 900 meV/A of the reference"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(here, capsys, options, says):
    write_set(here / "my-set.extxyz", sign=-1.0)
    assert main(["import", "frames", "my-set.extxyz", "--to=cases", *options]) == 4
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not list(here.glob("cases/**/*.*"))


def test_a_case_that_is_there_is_kept(here, capsys):
    command = ["import", "frames", "my-set.extxyz", "--level=EMT", "--to=cases"]
    assert main(command) == 0
    assert main([*command, "--title=another set"]) == 4
    assert "my_set.toml: is there already; give another --id, or --replace" in capsys.readouterr().err
    assert "another set" not in (here / "cases" / "parity" / "my_set.toml").read_text()
    assert main([*command, "--title=another set", "--replace"]) == 0
    assert main([*command, "--id=second"]) == 0
    assert (here / "cases" / "parity" / "second.extxyz").exists()
