"""Inputs for a cluster are written, and what real codes made of them is taken in again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest

from mlff_probes.cases.load import load_case
from mlff_probes.cases.recording.lacking import structure_hash
from mlff_probes.cli import main

DATA = Path(__file__).parents[1] / "data" / "recording"

PARAMETERS = {
    "vasp": "kpts = [2, 1, 1]\ngamma = true\nencut = 400\nxc = 'PBE'\nsetups = { H = '_h' }",
    "espresso": "pseudopotentials = { H = 'H.upf' }\nkpts = [2, 1, 1]\ninput_data = { ecutwfc = 20 }",
    "cp2k": "xc = 'PBE'\ncutoff = 2721.0",
}


@pytest.fixture
def case(tmp_path):
    """Three images of one molecule passing another, without energies."""
    folder = tmp_path / "cases" / "migration"
    folder.mkdir(parents=True)
    for suffix in (".extxyz", ".toml"):
        shutil.copy(DATA / f"h2_past_h2{suffix}", folder)
    return folder / "h2_past_h2.toml"


@pytest.fixture
def computed(tmp_path):
    """Puts what a code computed where the manifest is looked for."""

    def put(code):
        return Path(shutil.copytree(DATA / code, tmp_path / "cluster" / "h2_past_h2")).parent

    return put


def write(case, code, *options, parameters=None, level=None):
    settings = case.parents[2] / "settings.toml"
    stated = f'level_of_theory = "{level}"\n' if level else ""
    settings.write_text(f"{stated}[parameters]\n{PARAMETERS.get(code, '') if parameters is None else parameters}\n")
    cluster = case.parents[2] / "cluster"
    return main(["record", str(case), "--write-inputs", code, str(cluster), f"--settings={settings}", *options])


def collect(case, cluster, *options):
    return main(["record", str(case), f"--collect={cluster}", *options])


@pytest.mark.parametrize(
    ("code", "files", "said"),
    [
        (
            "vasp",
            {"INCAR": "ENCUT = 400", "KPOINTS": "Gamma\n2 1 1", "POTCAR.spec": "H_h"},
            "POTCAR is under VASP's licence",
        ),
        ("espresso", {"espresso.pwi": "tprnfor          = .true."}, "espresso"),
        ("cp2k", {"cp2k.inp": "RUN_TYPE ENERGY_FORCE"}, "cp2k"),
    ],
)
def test_an_input_folder_a_frame_is_written_with_a_manifest(case, capsys, code, files, said):
    assert write(case, code) == 0
    output = capsys.readouterr().out
    assert f"wrote inputs of 3 frames for {code}" in output
    assert said in output
    cluster = case.parents[2] / "cluster" / "h2_past_h2"
    for file, text in files.items():
        assert text in (cluster / "frame_0001" / file).read_text()
    manifest = json.loads((cluster / "manifest.json").read_text())
    assert [folder["frame"] for folder in manifest["folders"]] == [f"frame {i} (image {i})" for i in range(3)]
    assert write(case, code) == 4  # which may hold results
    assert "is there already, and may hold results; name another folder" in capsys.readouterr().err


def test_vasp_has_the_atoms_by_element_and_the_manifest_knows_the_order(case):
    frames = ase.io.read(case.with_suffix(".extxyz"), ":")
    for frame in frames:
        frame.symbols[[1, 2]] = "He"
    ase.io.write(case.with_suffix(".extxyz"), frames)
    assert write(case, "vasp", "--only=2") == 0
    cluster = case.parents[2] / "cluster" / "h2_past_h2"
    (folder,) = json.loads((cluster / "manifest.json").read_text())["folders"]
    assert folder["order"] == [0, 3, 1, 2]
    poscar = ase.io.read(cluster / "frame_0002" / "POSCAR")
    assert poscar.get_chemical_symbols() == ["H", "H", "He", "He"]
    assert np.allclose(poscar.positions, frames[2].positions[folder["order"]])


@pytest.mark.parametrize(
    ("code", "name", "energy", "downhill"),
    [
        ("cp2k", "CP2K 2023.1", -63.1006, [-0.0164, -0.0234]),
        ("qe", "Quantum ESPRESSO 6.7MaX", -61.8145, [-0.0135, -0.0184]),
    ],
)
def test_results_of_real_codes_are_taken_in(case, computed, capsys, code, name, energy, downhill):
    assert collect(case, computed(code)) == 0
    assert f"computed with {name}" in capsys.readouterr().out
    assert load_case(case).stored.energies - energy == pytest.approx([0.0, *downhill], abs=2e-4)
    said = json.loads(case.with_suffix(".provenance.json").read_text())
    assert said["points"][0]["level_of_theory"] == "PBE"
    assert said["points"][0]["converged"].startswith("its output (")
    assert "wall_s" not in said["points"][0]


def test_atoms_that_were_sorted_come_back_in_the_order_of_the_case(case, computed):
    cluster = computed("qe")
    straight = ase.io.read(cluster / "h2_past_h2" / "frame_0000" / "espresso.pwo.gz").get_forces()
    order = [2, 0, 3, 1]
    frames = [frame[np.argsort(order).tolist()] for frame in ase.io.read(case.with_suffix(".extxyz"), ":")]
    ase.io.write(case.with_suffix(".extxyz"), frames)
    file = cluster / "h2_past_h2" / "manifest.json"
    manifest = json.loads(file.read_text())
    for folder, frame in zip(manifest["folders"], frames, strict=True):
        folder |= {"order": order, "structure": structure_hash(frame)}
    file.write_text(json.dumps(manifest))
    case.write_text(case.read_text().replace("migrating_atom = 2", "migrating_atom = 3"))
    assert collect(case, cluster) == 0
    assert np.allclose(ase.io.read(case.with_suffix(".extxyz"), "0").get_forces()[order], straight, atol=1e-7)


def test_what_came_back_is_kept_and_what_lacks_is_said(case, computed, capsys):
    cluster = computed("cp2k")
    last = cluster / "h2_past_h2" / "frame_0002"
    shutil.rmtree(last)
    assert collect(case, cluster) == 1
    said = capsys.readouterr().out
    assert "no value: frame_0002 holds no output of CP2K" in said
    assert "2 of 3 points are there, lacking are frame 2 (image 2)" in said
    shutil.copytree(DATA / "unconverged", last)
    assert collect(case, cluster) == 1
    assert "no value: frame 2 (image 2) did not converge (cp2k.out.gz, ionic step 1: " in capsys.readouterr().out
    shutil.rmtree(last)
    shutil.copytree(DATA / "cp2k" / "frame_0002", last)
    assert collect(case, cluster) == 0


def test_a_result_of_another_frame_is_refused(case, computed, capsys):
    folder = computed("cp2k") / "h2_past_h2"
    (folder / "frame_0000").rename(folder / "kept")
    (folder / "frame_0001").rename(folder / "frame_0000")
    (folder / "kept").rename(folder / "frame_0001")
    assert collect(case, folder.parent) == 4
    assert "frame_0000: holds the structure of frame 1 (image 1), its input is of frame 0" in capsys.readouterr().err


def test_another_geometry_is_refused(case, computed, capsys):
    cluster = computed("cp2k")
    frames = ase.io.read(case.with_suffix(".extxyz"), ":")
    frames[1].positions[0, 0] += 0.02
    ase.io.write(case.with_suffix(".extxyz"), frames)
    assert collect(case, cluster) == 4
    assert "its input is of frame 1 (image 1), which the case has no more; write inputs anew" in capsys.readouterr().err


def test_mixed_settings_are_refused_with_a_table(case, computed, capsys):
    cluster = computed("cp2k")
    shutil.copytree(DATA / "mixed", cluster / "h2_past_h2" / "frame_0002", dirs_exist_ok=True)
    assert collect(case, cluster) == 4
    error = capsys.readouterr().err
    assert "CUTOFF       200 Ry                   frame_0000, frame_0001" in error
    assert "CUTOFF       150 Ry                   frame_0002" in error
    assert load_case(case, recorded=False).stored is None


def test_another_level_of_theory_is_no_value(case, computed, capsys):
    case.write_text(case.read_text().replace('"PBE"\n', '"r2SCAN"\n'))
    assert collect(case, computed("cp2k")) == 1
    assert "frame 0 (image 0) was computed with PBE, and h2_past_h2.toml says r2SCAN" in capsys.readouterr().out


def test_unusable_commands_are_one_sentence(case, capsys, tmp_path):
    for arguments, reason in [
        (["--write-inputs", "abinit", "out"], "--write-inputs=abinit: no such code; there are vasp, espresso, cp2k"),
        (["--collect=nowhere"], "nowhere/h2_past_h2/manifest.json: cannot be read as the manifest of inputs"),
        (["--collect=a", "--calculator=ase:EMT"], "--calculator and --collect are given; write"),
        ([], "nobody is named who computes; write --calculator=dft.toml, --write-inputs CODE DIR, or --collect=DIR"),
    ]:
        assert main(["record", str(case), *arguments]) == 4, arguments
        assert reason in capsys.readouterr().err
    assert write(case, "vasp", parameters="nonsense = { a = 1 }") == 4
    assert "ASE cannot write the input of vasp: " in capsys.readouterr().err
    assert not (tmp_path / "cluster" / "h2_past_h2").exists()


def test_inputs_of_another_level_than_the_case_are_not_written(case, capsys, tmp_path):
    assert write(case, "cp2k", level="r2SCAN") == 4
    assert "--settings: says r2SCAN, and h2_past_h2.toml PBE; both must be of one level" in capsys.readouterr().err
    assert not (tmp_path / "cluster").exists()
    assert write(case, "cp2k", level="pbe") == 0
