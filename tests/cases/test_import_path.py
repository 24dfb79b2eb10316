"""`mlff-probes import path`: from what codes left on a disk to a case and its picture, or to one clear message."""

from __future__ import annotations

import errno
import gzip
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixScaled
from ase.units import Bohr, Hartree
from support import DoubleWell, double_well_path
from test_settings import DATA, OF_ASE

from mlff_probes.cases.importers.codes.cp2k_structures import read_output
from mlff_probes.cases.importers.images import is_bare_band
from mlff_probes.cases.load import load_case
from mlff_probes.cases.tolerances import load_policy
from mlff_probes.cli import main
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.core.toml import read_toml
from mlff_probes.session.assemble import all_cases
from mlff_probes.session.benchmark import Benchmark

ENERGIES = (-6.70, -6.55, -6.35, -6.52, -6.66)


def images(energies=ENERGIES, **changed):
    """A real vasprun.xml of NaCl for each energy, in which Cl lies at another place: XML, by the name of the folder."""
    text = (OF_ASE / "vasprun_dfpt.xml").read_text()
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    found = {}
    for index, energy in enumerate(energies):
        placed = text.replace("0.50000000       0.50000000       0.50000000", f"{0.4 + 0.05 * index} 0.5 0.5")
        found[f"{index:02d}"] = placed.replace("-6.74587304", f"{energy:.8f}")
    return found


def on_disk(folder: Path, found) -> Path:
    for name, text in found.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "vasprun.xml").write_text(text)
    return folder


def imported(capsys, *arguments, code=0, picture=False):
    drawn = [] if picture else ["--no-picture"]
    assert main(["import", "path", *map(str, arguments), *drawn]) == code
    out, err = capsys.readouterr()
    return err if code else out


def nothing_in(directory: Path) -> bool:
    return not [file for file in directory.rglob("*") if file.is_file()]


@pytest.mark.parametrize("packed", [False, True])
def test_from_folders_of_vasp_to_a_case(tmp_path, capsys, packed):
    source = on_disk(tmp_path / "neb", images())
    for file in source.rglob("vasprun.xml") if packed else ():
        file.with_name("vasprun.xml.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    text = imported(capsys, source, "--to", tmp_path / "mine", "--uncertainty=0.01", picture=not packed)
    assert "5 images of ClNa, Cl (atom 1) moves\nlevel of theory: PBE (as the outputs say)\n" in text
    assert "computed with VASP 6.3.2, PBE, ENCUT 400 eV" in text
    assert "barrier 0.350 eV, back 0.310 eV, from end to end +0.040 eV" in text
    assert "0.500        0.3500" in text
    assert (
        f"pytest --pyargs mlff_probes.probes --calculator=chgnet --probe-reference={tmp_path / 'mine'} -k neb" in text
    )
    case = load_case(tmp_path / "mine" / "migration" / "neb.toml")
    assert (case.level_of_theory, case.protocol.path_made_by) == ("PBE", "nudged elastic band, PBE")
    assert "k-points 3 3 3, POTCAR PAW_PBE Na 08Apr2002, PAW_PBE Cl 06Sep2000; images of neb" in case.source
    assert case.expectation("barrier").value == pytest.approx(0.35)
    assert case.expectation("barrier").uncertainty == 0.01
    drawn = tmp_path / "mine" / "migration" / "neb.png"
    assert drawn.exists() is not packed
    assert packed or drawn.stat().st_size > 10_000


def test_outcars_of_a_band(tmp_path, capsys):
    text = (OF_ASE / "OUTCAR_example_1").read_text()
    for index, energy in enumerate((-68.2, -68.0, -68.1)):
        placed = text.replace("     16.82152     15.71963", f"     {16.0 + 0.3 * index:.5f}     15.71963")
        (tmp_path / "neb" / f"{index:02d}").mkdir(parents=True)
        (tmp_path / "neb" / f"{index:02d}" / "OUTCAR").write_text(placed.replace("-68.23102426\n", f"{energy:.8f}\n"))
    shutil.copytree(tmp_path / "neb" / "02", tmp_path / "neb" / "02_old")
    text = imported(capsys, tmp_path / "neb", "--to", tmp_path)
    assert "3 images of Ni18, Ni (atom 1) moves\nlevel of theory: PBE (as the outputs say)" in text
    assert "computed with VASP 5.3.3, PBE, ENCUT 300 eV, ISPIN 2" in text
    assert "barrier 0.200 eV, back 0.100 eV, from end to end +0.100 eV" in text
    assert "note: Folders that were left out: 02_old." in text


@pytest.mark.parametrize(
    ("source", "options", "level", "barrier", "forces"),
    [
        ("gpaw/neb.traj", (), "PBE", 1.6548, True),
        ("espresso/neb", (), "PBE", 1.3130590479, True),
        ("pymatgen/neb_analysis.json", ("--level=PBE",), "PBE", 0.7, False),
        ("espresso/pw", (), "PBE", 1.49314, True),
        ("cp2k/band", (), "PBE+D3(BJ)", 1.32209, True),
    ],
)
def test_bands_that_real_codes_wrote(tmp_path, capsys, source, options, level, barrier, forces):
    imported(capsys, DATA / source, "--to", tmp_path, "--id=h3", *options)
    case = load_case(tmp_path / "migration" / "h3.toml")
    assert case.level_of_theory == level
    assert case.expectation("barrier").value == pytest.approx(barrier, abs=1e-4)
    assert (case.stored.forces is not None) is forces


def test_a_single_point_of_cp2k_has_forces_and_a_stress_of_ases_sign():
    (atoms,) = read_output(DATA / "cp2k" / "pbesol_d3.out.gz")
    assert atoms.get_distance(0, 1) == pytest.approx(0.829)
    assert atoms.cell.lengths().tolist() == [6.9, 4.4, 4.4]
    assert atoms.get_potential_energy() == pytest.approx(-1.070406150 * Hartree, abs=1e-6)
    pull = atoms.get_forces()[0, 0]
    assert pull == pytest.approx(0.12976816 * Hartree / Bohr)
    assert pull > 0  # the bond is too long,
    assert atoms.get_stress()[0] > 0  # so that it pulls the cell together


def band(count=5, *, forces=True, constraint=None):
    frames = double_well_path(count)
    for frame in frames:
        frame.set_constraint(constraint)
        calc = DoubleWell(0.7, tilt=0.1)
        results = {"energy": calc.get_potential_energy(frame)} | ({"forces": calc.get_forces(frame)} if forces else {})
        frame.calc = SinglePointCalculator(frame, **results)
    return frames


def files(folder: Path, frames, names=None) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    found = [folder / f"{name}.extxyz" for name in names or (f"im{index}" for index in range(len(frames)))]
    for file, frame in zip(found, frames, strict=True):
        ase.io.write(file, frame, format="extxyz")
    return found


def test_a_file_an_image_a_database_and_a_document_are_the_same_band(tmp_path, capsys):
    frames = band()
    sources = {"files": files(tmp_path / "in", frames)}
    sources["db"] = [tmp_path / "band.db"]
    ase.io.write(sources["db"][0], frames)
    sources["json"] = [tmp_path / "neb.json.gz"]
    sources["json"][0].write_bytes(gzip.compress(document(frames).encode()))
    sources["traj"] = [tmp_path / "neb.traj"]
    ase.io.write(sources["traj"][0], [*frames, *frames])
    for name, source in sources.items():
        imported(capsys, *source, f"--id={name}", "--to", tmp_path / "out", "--level=PBE")
        case = load_case(tmp_path / "out" / "migration" / f"{name}.toml")
        assert case.expectation("barrier").value == pytest.approx(0.8, abs=1e-6)
        assert len(case.frames) == 5


def document(frames):
    """As `NEBAnalysis.as_dict` of pymatgen has it."""
    import json

    structures = [
        {
            "lattice": {"matrix": frame.cell.tolist(), "pbc": frame.pbc.tolist()},
            "sites": [
                {"species": [{"element": symbol, "occu": 1}], "abc": place, "properties": {}}
                for symbol, place in zip(
                    frame.get_chemical_symbols(), frame.get_scaled_positions().tolist(), strict=True
                )
            ],
        }
        for frame in frames
    ]
    energies = [frame.get_potential_energy() for frame in frames]
    return json.dumps({"@class": "NEBAnalysis", "structures": structures, "energies": energies, "forces": [0.0] * 5})


def test_a_document_of_atomate2_has_forces_and_settings(tmp_path, capsys):
    import json

    frames = band()
    said = json.loads(document(frames))
    said["images"] = said.pop("structures")
    said["calculations"] = [
        {
            "vasp_version": "6.4.2",
            "input": {
                "parameters": {"GGA": "Ps", "ENMAX": 680.0, "NELM": 3, "EDIFF": 1e-5},
                "kpoints": {"kpoints": [[2, 2, 2]]},
                "potcar_spec": [{"titel": "PAW_PBE Te 08Apr2002"}],
            },
            "output": {"ionic_steps": [{"forces": frame.get_forces().tolist(), "electronic_steps": [{}, {}]}]},
        }
        for frame in frames
    ]
    (tmp_path / "doc.json").write_text(json.dumps({"uuid": "1", "output": said}))
    text = imported(capsys, tmp_path / "doc.json", "--to", tmp_path)
    assert "VASP 6.4.2, PBEsol, ENCUT 680 eV, k-points 2 2 2, POTCAR PAW_PBE Te 08Apr2002" in text
    assert load_case(tmp_path / "migration" / "doc.toml").stored.forces is not None
    (tmp_path / "hops.json").write_text(json.dumps({"hops": {"0+1": said, "0+2": said}}))
    assert "holds several bands (0+1, 0+2)" in imported(capsys, tmp_path / "hops.json", "--to", tmp_path, code=4)
    (tmp_path / "gap.json").write_text(
        json.dumps({"hops": {"0+1": said | {"energies": [*said["energies"][:4], None]}}})
    )
    assert "1 of 5 images have no energy: image 4" in imported(capsys, tmp_path / "gap.json", "--to", tmp_path, code=4)
    (tmp_path / "lost.json").write_text(json.dumps(said | {"images": [*said["images"][:4], None]}))
    assert "image 4 of 5 is missing" in imported(capsys, tmp_path / "lost.json", "--to", tmp_path, code=4)
    said["calculations"][2]["output"]["ionic_steps"][0]["electronic_steps"] = [{"e_fr_energy": -n} for n in range(3)]
    (tmp_path / "bad.json").write_text(json.dumps(said))
    assert "image 2: its electronic steps ran out" in imported(capsys, tmp_path / "bad.json", "--to", tmp_path, code=4)


def test_constraints_are_kept_and_wrapped_atoms_put_back(tmp_path, capsys):
    frames = band(constraint=FixAtoms([0]))
    for frame in frames[2:]:
        results = frame.calc.results
        frame.set_constraint()
        frame.positions += frame.cell[1]
        frame.set_constraint(FixAtoms([0]))
        frame.calc = SinglePointCalculator(frame, **results)
    ase.io.write(tmp_path / "band.traj", frames)
    imported(capsys, tmp_path / "band.traj", "--to", tmp_path, "--level=PBE")
    written = ase.io.read(tmp_path / "migration" / "band.extxyz", ":")
    assert np.ptp([frame.positions[:, 1] for frame in written], axis=0).max() < 1e-6
    assert [frame.constraints[0].index.tolist() for frame in written] == [[0]] * 5


def test_what_is_held_in_an_oblique_direction_is_said_to_be_free(tmp_path, capsys):
    frames = band(constraint=FixScaled(0, (True, False, False)))
    for frame in frames:
        results = frame.calc.results
        frame.cell[1, 0] = 4.0
        frame.calc = SinglePointCalculator(frame, **results)
    ase.io.write(tmp_path / "band.traj", frames)
    assert "Atoms 0 were held in an oblique direction" in imported(
        capsys, tmp_path / "band.traj", "--to", tmp_path, "--level=PBE"
    )


def test_renumbered_atoms_are_refused_or_put_right(tmp_path, capsys):
    frames = [frame + Atoms("Te", positions=[[1, 5, 1]]) for frame in band()]
    for frame in frames:
        frame.calc = SinglePointCalculator(frame, energy=-(float(frame.positions[1, 0]) ** 2))
    swapped = frames[3][[2, 1, 0]]
    swapped.calc = SinglePointCalculator(swapped, energy=frames[3].get_potential_energy())
    source = files(tmp_path / "in", [*frames[:3], swapped, frames[4]])
    arguments = (*source, "--to", tmp_path / "out", "--level=PBE", "--id=a")
    assert "--reorder-atoms where they are imported" in imported(capsys, *arguments, code=4)
    assert "Atoms were renumbered as in image 0 from image 3 on" in imported(capsys, *arguments, "--reorder-atoms")
    assert "reorder_atoms" not in read_toml(tmp_path / "out" / "migration" / "a.toml")["protocol"]


def test_a_relaxed_case_is_judged_by_the_numbers_of_the_band(tmp_path, capsys):
    ase.io.write(tmp_path / "band.traj", band())
    imported(capsys, tmp_path / "band.traj", "--to", tmp_path, "--level=PBE", "--kind=relaxed", "--uncertainty=0.02")
    case = load_case(tmp_path / "migration" / "band.toml")
    assert (case.protocol.kind, case.protocol.images, len(case.frames)) == ("relaxed_path", 5, 2)
    assert case.expectation("barrier").value == pytest.approx(0.8)
    assert case.expectation("reaction_energy").value == pytest.approx(0.2)


def test_ends_that_were_computed_elsewhere(tmp_path, capsys):
    found = images()
    source = on_disk(tmp_path / "neb", {name: found[name] for name in ("01", "02", "03")})
    on_disk(tmp_path / "runs", {"a": found["00"], "b": found["04"]})
    ends = ("--initial", tmp_path / "runs" / "a", "--final", tmp_path / "runs" / "b")
    assert "barrier 0.350 eV" in imported(capsys, source, *ends, "--to", tmp_path / "one")
    (source / "00").mkdir()
    (source / "04").mkdir()
    for name in ("00", "04"):  # as VASP wants it
        ase.io.write(
            source / name / "POSCAR", ase.io.read(tmp_path / "runs" / {"00": "a"}.get(name, "b") / "vasprun.xml")
        )
    assert (
        "2 of 5 images have no energy: 00/POSCAR, 04/POSCAR; say where the ends were computed: --initial"
        in imported(capsys, source, "--to", tmp_path / "two", code=4)
    )
    assert "barrier 0.350 eV" in imported(capsys, source, *ends, "--to", tmp_path / "two")
    swapped = ("--initial", tmp_path / "runs" / "b")
    assert "is not the first image of the band: atom 1 lies 0.77 A off" in imported(capsys, source, *swapped, code=4)
    shutil.copytree(tmp_path / "runs" / "a", tmp_path / "start")
    shutil.copytree(tmp_path / "runs" / "b", source / "final")
    text = imported(capsys, source, "--to", tmp_path / "three")
    assert "The first image is start/vasprun.xml." in text
    assert "The last image is final/vasprun.xml." in text


def test_frames_that_say_their_number_stand_in_its_order(tmp_path, capsys):
    frames = band()  # numbered by `image`
    ase.io.write(tmp_path / "band.extxyz", [frames[index] for index in (0, 2, 1, 3, 4)])
    imported(capsys, tmp_path / "band.extxyz", "--to", tmp_path, "--level=PBE")
    written = ase.io.read(tmp_path / "migration" / "band.extxyz", ":")
    assert [frame.positions[1, 0] for frame in written] == sorted(frame.positions[1, 0] for frame in frames)


def no_level(tmp_path):
    return files(tmp_path / "in", band())


def mixed(tmp_path):
    return [on_disk(tmp_path / "in", images() | {"03": images(accura="normal")["03"]})]


def mixed_levels(tmp_path):
    return [on_disk(tmp_path / "in", images() | {"03": images(**{">PE<": ">PS<"})["03"]})]


def missing_image(tmp_path):
    found = images()
    del found["02"]
    return [on_disk(tmp_path / "in", found)]


def other_cell(tmp_path):
    return [on_disk(tmp_path / "in", images() | {"02": images(**{"2.72739551": "2.74"})["02"]})]


def without_energy(tmp_path):
    frames = band()
    frames[2].calc = None
    return files(tmp_path / "in", frames)


def wrong_order(tmp_path):
    return files(tmp_path / "in", band(), ["im0", "im2", "im1", "im3", "im4"])


def unconverged(tmp_path):
    frames = files(tmp_path / "in", band())
    frames[1].with_suffix(".out").write_text(
        " CP2K| version\n  *** SCF run NOT converged ***\n ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]: -1.0\n"
    )
    return frames


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (no_level, (), "its level of theory is not in what was read; say it: --level=PBE"),
        (
            mixed,
            (),
            "different settings; repeat those that differ, or say why it does not matter: --allow-mixed='REASON'",
        ),
        (
            mixed_levels,
            ("--allow-mixed=x",),
            "different levels of theory; their energies cannot be compared\n  functional",
        ),
        (missing_image, (), "image 2 is missing between the others (00, 01, 03, 04)"),
        (other_cell, (), "must have the same cell; that of image 2 is off by up to 0.0126 A"),
        (without_energy, ("--level=PBE",), "1 of 5 images have no energy: im2.extxyz"),
        (
            wrong_order,
            ("--level=PBE",),
            "as im0.extxyz, im2.extxyz, im1.extxyz, im3.extxyz, im4.extxyz; --order=geometry",
        ),
        (unconverged, ("--level=PBE",), "in/im1.out, ionic step 1: its electronic steps ran out"),
        (mixed, ("--allow-mixed= ",), "--allow-mixed: needs a reason"),
        (no_level, ("--level=PBE", "--id=a b"), "a case id is made of letters"),
        (no_level, ("--level=PBE", "--uncertainty=-1"), "must be a number of eV"),
        (no_level, ("--level=PBE", "--energy-key=E"), "no frame has energy under 'E'"),
        (lambda tmp_path: [tmp_path / "nowhere"], (), "there is no such band"),
    ],
)
def test_bad_input_leaves_one_message_and_nothing_else(tmp_path, capsys, make, options, says):
    error = imported(capsys, *make(tmp_path), *options, "--to", tmp_path / "out", code=4)
    assert error.startswith("mlff-probes: error: ")
    assert says in error
    assert nothing_in(tmp_path / "out")


def test_settings_that_may_differ_stand_in_the_notes_with_the_reason(tmp_path, capsys):
    (source,) = mixed(tmp_path)
    text = imported(capsys, source, "--allow-mixed=checked to 1 meV", "--to", tmp_path / "out")
    assert "note: Settings differ among the images (checked to 1 meV): PREC Accurate 00/vasprun.xml" in text


def test_images_of_one_trajectory_that_were_computed_differently(tmp_path, capsys):
    frames = band()
    for index, frame in enumerate(frames):
        frame.calc.name, frame.calc.parameters = (
            "gpaw",
            {"xc": "PBE", "mode": {"name": "pw", "ecut": 300 + 50 * (index == 2)}},
        )
    ase.io.write(tmp_path / "band.traj", frames)
    ase.io.write(tmp_path / "band.db", frames)
    for name in ("band.traj", "band.db"):
        error = imported(capsys, tmp_path / name, "--to", tmp_path / "out", code=4)
        assert "mode         ecut=350 name=pw         image 2" in error


def test_a_picture_that_cannot_be_drawn_costs_no_case(tmp_path, capsys):
    arguments = (*no_level(tmp_path), "--level=PBE", "--id=a", "--to", tmp_path / "out")
    error = imported(capsys, *arguments, f"--picture={tmp_path / 'a.doc'}", code=4, picture=True)
    assert "unknown format '.doc'" in error
    assert nothing_in(tmp_path / "out")
    (tmp_path / "out" / "migration" / "a.png").mkdir(parents=True)
    assert "note: no picture was drawn" in imported(capsys, *arguments, picture=True)
    assert (tmp_path / "out" / "migration" / "a.toml").exists()


def test_a_level_that_contradicts_the_outputs_is_said(tmp_path, capsys):
    source = on_disk(tmp_path / "in", images())
    text = imported(capsys, source, "--level=PBE+D3(BJ)", "--to", tmp_path / "out")
    assert "level of theory: PBE+D3(BJ) (as stated)" in text
    assert "note: The level of theory is stated as PBE+D3(BJ); the outputs say PBE." in text


def test_an_id_that_is_taken_and_a_full_disk(tmp_path, capsys, monkeypatch):
    source = no_level(tmp_path)
    arguments = (*source, "--level=PBE", "--id=a", "--to", tmp_path / "out")
    imported(capsys, *arguments)
    assert "a.toml: is there already; give another --id, or --replace" in imported(capsys, *arguments, code=4)
    imported(capsys, *arguments, "--replace")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ase.io.write", full)
    other = (*source, "--level=PBE", "--id=b", "--to", tmp_path / "other")
    assert "cannot be written (No space left on device)" in imported(capsys, *other, code=4)
    assert nothing_in(tmp_path / "other")


def test_a_notebook_writes_the_case_that_the_command_does(tmp_path, capsys):
    source = on_disk(tmp_path / "neb", images())
    model = {"toy": DoubleWell(0.7)}
    written = Benchmark(model=model, migration_path=source, uncertainty_ev=0.01).to_case(tmp_path / "a")
    imported(capsys, source, "--uncertainty=0.01", "--to", tmp_path / "b")
    command = tmp_path / "b" / "migration" / "neb.toml"
    assert [written.with_suffix(end).read_text() for end in (".toml", ".extxyz")] == [
        command.with_suffix(end).read_text() for end in (".toml", ".extxyz")
    ]
    with pytest.raises(InputError, match="its level of theory is not in what was read"):
        Benchmark(model=model, migration_path=band()).to_case(tmp_path / "c")
    assert Benchmark(model=model, migration_path=band(), level_of_theory="PBE").to_case(tmp_path / "c").exists()
    with pytest.raises(InputError, match="migration_path=None is no band"):
        Benchmark(model=model).to_case(tmp_path / "d")


def test_a_bare_band_is_a_case_among_others(tmp_path):
    source = on_disk(tmp_path / "neb", images())
    case = next(case for case in all_cases([DIRECTORY, source], load_policy()) if case.id == "neb")
    assert (case.level_of_theory, case.expectation("barrier").value) == ("PBE", pytest.approx(0.35))
    assert is_bare_band(DATA / "espresso" / "neb")
    assert not is_bare_band(DIRECTORY)
    files(tmp_path / "bare", band())
    with pytest.raises(InputError, match=r"say it: mlff-probes import path .*bare --level=PBE"):
        all_cases([tmp_path / "bare"], load_policy())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no case"):
        all_cases([tmp_path / "empty"], load_policy())
