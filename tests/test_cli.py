"""The command `mlff-probes`."""

from __future__ import annotations

import shutil
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from support import double_well_path
from test_lookup import OF_PARITY

from mlff_probes.calculators.base import as_calculator
from mlff_probes.cases.load import gather_frames, load_cases
from mlff_probes.cli import main
from mlff_probes.core.data import DIRECTORY
from mlff_probes.measure.parity.worst_frames import worst_frames

LJ = "--calculator=ase:LennardJones,sigma=3.6,epsilon=0.02,rc=6.0"


def said(capsys, *arguments, code=0):
    assert main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_list_shows_every_case_with_quantities_sources_and_tolerances(capsys):
    text = said(capsys, "list")
    for case in load_cases():
        assert f"{case.family} / {case.id}" in text
        assert case.title in text
        for quantity in case.quantities:
            assert f"  {quantity} " in text
    assert "barrier                 1.505        0.08       0.1 eV      policy" in text
    assert "only reported" in text


def test_list_one_case_with_an_override(capsys, tmp_path):
    (tmp_path / "mine.toml").write_text('[migration.barrier]\nvalue = 0.3\nunit = "eV"\nreason = "a first look"\n')
    text = said(capsys, "list", "cr_sb2te3_in_gap", f"--tolerances={tmp_path / 'mine.toml'}")
    assert "0.3 eV      override" in text
    assert "sliding" not in text


def test_list_shows_a_broken_case_of_ones_own(capsys, tmp_path):
    (tmp_path / "migration").mkdir()
    (tmp_path / "migration" / "mine.toml").write_text("schema_version = 1\n")
    for name in ((), ("mine",), ("mine.toml",)):
        assert main(["list", *name, f"--reference={tmp_path}", "--reference-only"]) == 4
        out, err = capsys.readouterr()
        assert "migration / mine.toml" in out
        assert err == "mlff-probes: error: 1 of 1 cases cannot be read: mine.toml\n"


def test_worst_frames_of_the_parity_cases(capsys, tmp_path):
    text = said(capsys, "worst-frames", LJ, "-k", 3, "-o", tmp_path / "worst.extxyz")
    (frames,) = {len(case.frames) for case in load_cases() if case.family == "parity"}
    assert text.splitlines()[0] == f"wrote 3 of {frames} frames to {tmp_path}/worst.extxyz, worst force error first"
    found = ase.io.read(tmp_path / "worst.extxyz", ":")
    calculator = LennardJones(sigma=3.6, epsilon=0.02, rc=6.0)
    errors = []
    for frame in OF_PARITY:
        atoms = frame.copy()
        atoms.calc = calculator
        errors.append(1e3 * np.sqrt(np.mean((atoms.get_forces() - frame.get_forces()) ** 2)))
    worst = [frame.info["force_rmse_mev_per_a"] for frame in found]
    assert worst == pytest.approx(sorted({round(error, 6) for error in errors})[:-4:-1])
    for frame in found:  # labels twice: as ASE reads them, and as MACE trains on them
        assert frame.info["REF_energy"] == frame.get_potential_energy()
        assert np.array_equal(frame.arrays["REF_forces"], frame.get_forces())
        assert frame.info["model"] == "LennardJones"
        assert frame.info["origin"] in ("in_gap", "deep", "sliding")


def test_worst_frames_of_ones_own_file_by_energy(capsys, tmp_path):
    own = [frame for frame in OF_PARITY if "gap" in frame.info][:6]
    ase.io.write(tmp_path / "own.extxyz", own, format="extxyz")
    out = tmp_path / "worst.extxyz"
    said(capsys, "worst-frames", tmp_path / "own.extxyz", LJ, "--by=energy", "--count=2", f"--output={out}")
    errors = [abs(frame.info["energy_error_mev_per_atom"]) for frame in ase.io.read(out, ":")]
    assert len(errors) == 2
    assert errors[0] >= errors[1] > 0
    # what was written can be read again, and ranks in the same order
    read = gather_frames([out], [], None)
    again = worst_frames(
        as_calculator(LennardJones(sigma=3.6, epsilon=0.02, rc=6.0)), read.frames, read.stored, 2, by="force"
    )
    assert len(again) == 2


def test_worst_frames_that_are_alone_in_their_composition(capsys, tmp_path):
    frames = [bulk("Cu", cubic=True).repeat((n, 1, 1)) for n in (1, 1, 2)]
    for number, (atoms, aluminium) in enumerate(zip(frames, (0, 1, 3), strict=True)):
        atoms.symbols[:aluminium] = "Al"
        atoms.calc = SinglePointCalculator(atoms, energy=float(number), forces=np.ones((len(atoms), 3)))
    bare = frames[0].copy()
    file, out = tmp_path / "mine.extxyz", f"--output={tmp_path / 'worst.extxyz'}"
    ase.io.write(file, [*frames, bare], format="extxyz")
    refused = said(capsys, "worst-frames", file, LJ, "--by=energy", out, code=4)
    assert "all are alone in their composition; add --energy-reference=elements" in refused
    text = said(capsys, "worst-frames", file, LJ, "--by=energy", "--energy-reference=elements", out)
    assert "frames without energy or forces, left out: 1" in text
    assert text.count("meV/atom") > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["worst-frames", LJ, "-o", DIRECTORY / "x.extxyz"], "would overwrite what the frames are read from"),
        (["list", "nothing"], "there is no case 'nothing'; there are cr_sb2te3_deep"),
        (["list", "--reference=nowhere"], "nowhere: there is no such reference directory"),
        (["list", "--reference-only"], "--reference-only leaves no case"),
        (["list", "--tolerances=nowhere.toml"], "nowhere.toml: cannot be read"),
        (["worst-frames", "--calculator=chgent"], "did you mean chgnet?"),
        (["worst-frames", LJ, "--output=/proc/x.extxyz"], "cannot be written"),
        (["worst-frames", LJ, "--case=mine"], "there is no parity case 'mine'; there are sb2te3_frames"),
        (["worst-frames", LJ, "nowhere.extxyz"], "nowhere.extxyz: there is no such file of frames"),
        (["worst-frames", "--calculator=ase:EMT"], "EMT does not know Cr, Sb, Te"),
        (["worst-frames", LJ, LJ], "one model at a time is ranked"),
        (["worst-frames", LJ, "x.extxyz", "--case=sb2te3_frames"], "--case and --reference have no meaning"),
        (["worst-frames", LJ, "x.extxyz", "-o", "x.extxyz"], "would overwrite what the frames are read from"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_4(capsys, monkeypatch, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    text = said(capsys, *arguments, code=4)
    assert text.startswith("mlff-probes: error: ")
    assert says in text
    assert len(text.splitlines()) == 1


def test_labels_of_worst_frames_under_names_of_ones_own(capsys, tmp_path):
    frames = [bulk("Cu", a=a, cubic=True) for a in (3.5, 3.6, 3.7)]
    for number, atoms in enumerate(frames):
        atoms.info |= {"E_tot": float(number), "sigma_virial": -atoms.get_volume() * np.eye(3), "dft_energy": 9.0}
        atoms.arrays["f_tot"] = np.ones((4, 3))
    file, out = tmp_path / "mine.extxyz", tmp_path / "worst.extxyz"
    ase.io.write(file, frames, format="extxyz")
    assert 'found per atom f_tot; if these are labels, say so: forces_key = "f_tot"' in said(
        capsys, "worst-frames", file, LJ, "-o", out, code=4
    )
    named = ("--energy-key=E_tot", "--forces-key=f_tot", "--stress-key=sigma_virial")
    said(capsys, "worst-frames", file, LJ, *named, "-o", out)
    found = ase.io.read(out, ":")
    assert sorted(frame.get_potential_energy() for frame in found) == [0.0, 1.0, 2.0]
    for frame in found:
        np.testing.assert_allclose(frame.get_stress(), [1, 1, 1, 0, 0, 0])
    for atoms in frames:
        atoms.arrays["f_tot"][:] = 0.0
        atoms.set_constraint(FixAtoms(range(4)))
    ase.io.write(file, frames, columns=["symbols", "positions", "f_tot", "move_mask"])
    assert "force RMSE unknown (all are zeroed by a constraint)" in said(
        capsys, "worst-frames", file, LJ, *named, "-o", out
    )
    assert "cases name their own" in said(capsys, "worst-frames", LJ, "--energy-key=E_tot", code=4)


def test_frames_without_labels(capsys, tmp_path):
    ase.io.write(tmp_path / "plain.extxyz", double_well_path(), format="extxyz")
    assert "no frame carries both" in said(capsys, "worst-frames", LJ, tmp_path / "plain.extxyz", code=4)


def test_a_reader_that_has_seen_enough():
    command = f"{sys.executable} -m mlff_probes.cli list | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("migration / cr_sb2te3_deep", "")
    assert DIRECTORY.is_dir()


def test_a_reference_without_parity_cases(capsys, tmp_path):
    shutil.copytree(DIRECTORY / "migration", tmp_path / "migration")
    text = said(capsys, "worst-frames", LJ, f"--reference={tmp_path}", "--reference-only", code=4)
    assert "there is no parity case; there are none: name files with labelled frames" in text


def test_all_labels_of_a_frame_are_kept(capsys, tmp_path):
    frames = [frame.copy() for frame in OF_PARITY[:2]]
    for frame, known in zip(frames, OF_PARITY, strict=False):
        labels = {"energy": known.get_potential_energy(), "forces": known.get_forces(), "stress": np.arange(6) / 100}
        frame.calc = SinglePointCalculator(frame, **labels)
    ase.io.write(tmp_path / "own.extxyz", frames, format="extxyz")
    said(capsys, "worst-frames", tmp_path / "own.extxyz", LJ, "-o", tmp_path / "worst.extxyz")
    (first, _) = ase.io.read(tmp_path / "worst.extxyz", ":")
    assert first.get_stress() == pytest.approx(np.arange(6) / 100)
    assert np.array(first.info["REF_stress"]).ravel() == pytest.approx(np.arange(6) / 100)
    assert first.info["taken_from"].startswith("own.extxyz:")


@pytest.mark.parametrize("option", ["--sha256", "--probe-sha256"])
def test_worst_frames_takes_a_pin_under_both_names(tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    assert main(["worst-frames", "--calculator=ase:EMT", f"{option}={'0' * 64}"]) == 4
    assert f"--sha256={'0' * 64}: no calculator has this SHA-256" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
