"""References whose electronic steps ran out, in the output of each code; compressed files; end points without energies.

The outputs hold what readers look at and nothing else.
"""

from __future__ import annotations

import gzip
from itertools import count

import ase.io
import numpy as np
import pytest
from analytic import protocol
from ase import Atoms
from ase.units import Bohr, Hartree, Rydberg

from mlff_probes.cases.convergence import REMEDY, electronic_steps, opened, output_problem
from mlff_probes.cases.files import read_frames
from mlff_probes.cases.frames import labelled_frames
from mlff_probes.cases.importers.path import Stated, band_case, read_band
from mlff_probes.cases.importers.trajectory import dynamics_case
from mlff_probes.cases.load import load_case
from mlff_probes.core.errors import InputError

CELL = np.diag([4.0, 5.0, 6.0])
LIMIT = 40


def image(x=0.0):
    """A sodium atom on its way past a chlorine atom."""
    return Atoms("NaCl", positions=[[x, 0, 0], [2, 2.5, 3]], cell=CELL, pbc=True)


def energy(atoms):
    return -3.0 + np.sin(np.pi * atoms.positions[0, 0] / 2)


def rows(values):
    return "".join("  " + " ".join(f"{value:14.8f}" for value in row) + "\n" for row in values)


def outcar(images, steps):
    """OUTCAR: one ionic step an image; `steps` electronic ones in each, or None where it broke off after 7."""
    potentials = " POTCAR:    PAW_PBE Na 08Apr2002\n POTCAR:    PAW_PBE Cl 06Sep2000\n"
    text = (
        f" vasp.6.4.2 toy\n{potentials}{potentials}"
        " VRHFIN =Na: s1p0\n VRHFIN =Cl: s2p5\n"
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=      8\n"
        "   number of dos      NEDOS =    301   number of ions     NIONS =      2\n"
        f"   ions per type =               1   1\n   ISPIN  =      1    spin polarized calculation?\n"
        f"   NELM   = {LIMIT:6d};\n"
        " k-points in reciprocal lattice and weights: toy\n   0.00000000  0.00000000  0.00000000       1.000\n\n"
    )
    for ionic, (atoms, number) in enumerate(zip(images, steps, strict=True), 1):
        for step in range(1, (number or 7) + 1):
            text += f"--------------------------- Iteration {ionic:6d}({step:4d})  ---------------------------\n"
        if number is None:
            return text
        said = "because EDIFF is reached" if number < LIMIT else "EDIFF was not reached (unconverged)"
        text += f"------------------------ aborting loop {said} ----------------------------------------\n"
        text += "      direct lattice vectors                 reciprocal lattice vectors\n"
        text += rows(np.hstack([CELL, np.linalg.inv(CELL).T]))
        text += f"\n POSITION                                       TOTAL-FORCE (eV/Angst)\n {'-' * 83}\n"
        text += rows(np.hstack([atoms.positions, np.zeros((2, 3))])) + f" {'-' * 83}\n"
        text += (
            "\n  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        )
        text += f"  free  energy   TOTEN  =   {energy(atoms):16.8f} eV\n\n"
        text += f"  energy  without entropy=   {energy(atoms):16.8f}  energy(sigma->0) =   {energy(atoms):16.8f}\n\n"
    return text


def vasprun(images, steps, *, last_change=1.0):
    """vasprun.xml; the last electronic step changes the energy by `last_change` eV."""
    vectors = lambda name, values: (  # noqa: E731
        f'<varray name="{name}">' + "".join(f"<v>{' '.join(map(str, row))}</v>" for row in values) + "</varray>"
    )
    place = lambda atoms: vectors("positions", atoms.get_scaled_positions())  # noqa: E731
    basis = f"<crystal>{vectors('basis', CELL)}</crystal>"
    both = lambda value: f'<i name="e_fr_energy">{value}</i><i name="e_0_energy">{value}</i>'  # noqa: E731
    text = (
        '<?xml version="1.0"?>\n<modeling><kpoints><varray name="kpointlist"><v>0 0 0</v></varray>'
        '<varray name="weights"><v>1</v></varray></kpoints><parameters><separator name="electronic">'
        f'<i type="int" name="NELM">{LIMIT}</i><i name="EDIFF">0.0001</i></separator></parameters>'
        '<atominfo><array name="atoms"><set><rc><c>Na</c></rc><rc><c>Cl</c></rc></set></array></atominfo>'
        f'<structure name="initialpos">{basis}{place(images[0])}</structure>'
    )
    for atoms, number in zip(images, steps, strict=True):
        energies = [*np.linspace(5.0, energy(atoms) + last_change, number - 1), energy(atoms)]
        text += "<calculation>" + "".join(f"<scstep><energy>{both(value)}</energy></scstep>" for value in energies)
        text += f"<structure>{basis}{place(atoms)}</structure>{vectors('forces', np.zeros((2, 3)))}"
        text += f"<energy>{both(energy(atoms))}</energy></calculation>\n"
    return text + "</modeling>"


def espresso(images, steps):
    """Output of pw.x that goes on after an ionic step that did not converge (`scf_must_converge = .false.`)."""
    alat = CELL[0, 0]
    text = (
        f"     Program PWSCF v.7.2 starts on 1Jan2024\n\n     celldm(1)=   {alat / Bohr:.9f}  celldm(2)=   0.0\n"
        "     number of atoms/cell      =            2\n     number of atomic types    =            2\n"
        "     crystal axes: (cart. coord. in units of alat)\n"
    )
    for number, vector in enumerate(CELL / alat, 1):
        text += f"               a({number}) = ( {vector[0]:.9f} {vector[1]:.9f} {vector[2]:.9f} )\n"
    text += "   Cartesian axes\n\n     site n.     atom                  positions (alat units)\n"
    for number, (symbol, place) in enumerate(zip(("Na", "Cl"), images[0].positions / alat, strict=True), 1):
        where = "  ".join(f"{value:.9f}" for value in place)
        text += f"         {number}           {symbol}  tau({number}) = (  {where}  )\n"
    for index, (atoms, number) in enumerate(zip(images, steps, strict=True)):
        if index:
            text += "\nATOMIC_POSITIONS (angstrom)\n"
            text += "".join(f"{atom.symbol} {atom.x:.9f} {atom.y:.9f} {atom.z:.9f}\n" for atom in atoms) + "\n"
        done = number < LIMIT
        said = (
            f"has been achieved in {number:3d} iterations"
            if done
            else f"NOT achieved after {number:3d} iterations: stopping"
        )
        text += f"\n{'!' if done else ' '}    total energy              = {energy(atoms) / Rydberg:16.8f} Ry\n\n"
        text += f"     convergence {said}\n\n     Forces acting on atoms (cartesian axes, Ry/au):\n\n"
        for atom in (1, 2):
            text += f"     atom    {atom} type  {atom}   force =     0.00000000    0.00000000    0.00000000\n"
    return text


def cp2k(images, steps):
    """What CP2K prints; the structures stand in another file."""
    text = " CP2K| version string:                 CP2K version 2023.1\n"
    for atoms, number in zip(images, steps, strict=True):
        text += "  Step     Update method      Time    Convergence         Total energy    Change\n"
        text += "".join(
            f"   {step:3d} P_Mix/Diag. 0.40E+00    1.2     0.1     -30.1  -1.0E-02\n" for step in range(1, number + 1)
        )
        text += (
            f"\n  *** SCF run converged in {number:5d} steps ***\n"
            if number < LIMIT
            else "\n *** WARNING in qs_scf.F:598 :: SCF run NOT converged ***\n"
        )
        text += f" ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:   {energy(atoms) / Hartree:.12f}\n"
    return text


def of_espresso(file, images, steps):
    file.with_name("run.pwo").write_text(espresso(images, steps))
    return file.with_name("run.pwo")


def of_cp2k(file, images, steps):
    file.with_name("run.out").write_text(cp2k(images, steps))
    for atoms in images:
        atoms.info["energy"] = energy(atoms)
        atoms.arrays["forces"] = np.zeros((2, 3))
    ase.io.write(file.with_name("run.extxyz"), images)
    return file.with_name("run.extxyz")


def of_outcar(file, images, steps):
    file.with_name("OUTCAR").write_text(outcar(images, steps))
    return file.with_name("OUTCAR")


def of_vasprun(file, images, steps):
    file.with_name("vasprun.xml").write_text(vasprun(images, steps))
    return file.with_name("vasprun.xml")


CODES = {"OUTCAR": of_outcar, "vasprun.xml": of_vasprun, "Quantum ESPRESSO": of_espresso, "CP2K": of_cp2k}
SAID = {"OUTCAR": "OUTCAR", "vasprun.xml": "vasprun.xml", "Quantum ESPRESSO": "run.pwo", "CP2K": "run.out"}


@pytest.mark.parametrize("code", CODES)
def test_a_run_that_converged_is_read(tmp_path, code):
    images = [image(x) for x in (0.0, 0.5, 1.0)]
    file = CODES[code](tmp_path / "x", images, [9, 12, LIMIT - 1])
    read = labelled_frames([(None, file)], where="here")
    np.testing.assert_allclose(read.stored.energies, [energy(atoms) for atoms in images], atol=1e-5)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_steps_that_ran_out_are_refused_by_file_and_ionic_step(tmp_path, code, bad):
    steps = [9, 12, 15]
    steps[bad] = LIMIT
    file = CODES[code](tmp_path / "x", [image(x) for x in (0.0, 0.5, 1.0)], steps)
    with pytest.raises(InputError) as caught:
        labelled_frames([(None, file)], where="here")
    assert f"{tmp_path.name}/{SAID[code]}, ionic step {bad + 1}: its {LIMIT} electronic steps ran out before" in str(
        caught.value
    )
    assert str(caught.value).endswith(REMEDY)


@pytest.mark.parametrize("text", [outcar, espresso, cp2k])
def test_whatever_a_launcher_prints_first(tmp_path, text):
    banner = "Lmod: loading the modules of this cluster\n" * 1000
    (tmp_path / "run.log").write_text(banner + text([image()], [LIMIT]))
    assert f"its {LIMIT} electronic steps ran out" in output_problem(tmp_path / "run.log")


def test_a_run_of_pwx_that_stopped_where_its_steps_ran_out(tmp_path):
    """Without an energy and forces, so that there is nothing that a reader of structures could return."""
    text = espresso([image()], [LIMIT]).partition("     Forces acting")[0]
    (tmp_path / "run.pwo").write_text(text)
    with pytest.raises(InputError, match=rf"run\.pwo: ionic step 1: its {LIMIT} electronic steps ran out .*; converge"):
        read_frames(tmp_path / "run.pwo")


def test_the_last_of_all_steps_may_have_settled(tmp_path):
    (tmp_path / "vasprun.xml").write_text(vasprun([image()], [LIMIT], last_change=1e-5))
    assert electronic_steps(tmp_path / "vasprun.xml") == [None]


@pytest.mark.parametrize("code", CODES)
def test_of_an_image_the_last_step_counts(tmp_path, code):
    """A relaxation on its way may stumble; where it ends it may not."""
    for folder, x, steps in zip(count(), (0.0, 0.5, 1.0), ([9, 9], [LIMIT, 9], [9, 9]), strict=False):
        (tmp_path / f"{folder:02d}").mkdir()
        CODES[code](tmp_path / f"{folder:02d}" / "x", [image(x + 0.01), image(x)], steps)
    case = band_case(read_band(tmp_path), "band", where=tmp_path, stated=Stated(level_of_theory="PBE"))
    assert case.stored.energies[1] == pytest.approx(energy(image(0.5)), abs=1e-5)
    CODES[code](tmp_path / "01" / "x", [image(0.51), image(0.5)], [9, LIMIT])
    with pytest.raises(InputError, match=rf"{tmp_path.name}: 01/{SAID[code]}, ionic step 2: its {LIMIT} electronic"):
        band_case(read_band(tmp_path), "band", where=tmp_path)


def test_a_log_of_any_name_in_the_folder_of_an_image(tmp_path):
    for folder, steps in (("00", 9), ("01", LIMIT), ("02", 9)):
        (tmp_path / folder).mkdir()
        atoms = image(0.5 * int(folder))
        of_cp2k(tmp_path / folder / "x", [atoms], [steps]).rename(tmp_path / folder / "image.extxyz")
        (tmp_path / folder / "run.inp").write_text("&GLOBAL\n")
    with pytest.raises(InputError, match=r"01/run\.out, ionic step 1"):
        band_case(read_band(tmp_path), "band", where=tmp_path)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([[None]], "OUTCAR: ionic step 1: the run broke off after 7 electronic steps"),
        ([[9, LIMIT]], "OUTCAR, ionic step 2"),
        ([[9], [None]], "OUTCAR, ionic step 2: the run broke off after 7 electronic steps"),
        ([[9, None]], None),
    ],
    ids=["before any energy", "at its end", "a second run in the file", "a relaxation on its way"],
)
def test_runs_that_were_cut_short(tmp_path, runs, says):
    file = tmp_path / "OUTCAR"
    file.write_text("".join(outcar([image(0.1 * i) for i in range(len(steps))], steps) for steps in runs))
    if says is None:
        assert len(labelled_frames([(None, file)], where="here").frames) == 1
        return
    with pytest.raises(InputError, match=says):
        labelled_frames([(None, file)], where="here")


@pytest.mark.parametrize("code", CODES)
def test_compressed_files_are_read_and_checked(tmp_path, code):
    for folder, x, steps in zip(("00", "01", "02"), (0.0, 0.5, 1.0), (9, 9, 9), strict=True):
        (tmp_path / folder).mkdir()
        CODES[code](tmp_path / folder / "x", [image(x)], [steps])
        for file in list((tmp_path / folder).iterdir()):
            packed = file.with_name(f"{file.name}.gz")
            packed.write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
            assert opened(packed).read(1)
    case = band_case(read_band(tmp_path), "band", where=tmp_path)
    np.testing.assert_allclose(case.stored.energies, [energy(image(x)) for x in (0.0, 0.5, 1.0)], atol=1e-5)
    CODES[code](tmp_path / "02" / "x", [image(1.0)], [LIMIT])
    with pytest.raises(InputError, match="02/"):
        band_case(read_band(tmp_path), "band", where=tmp_path)


@pytest.mark.parametrize("name", ["images.db", "images.traj", "images.json"])
def test_a_compressed_file_of_ase_is_read(tmp_path, name):
    ase.io.write(tmp_path / name, [image(0.0), image(0.1)])
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    assert [len(frame) for frame in read_frames(packed)] == [len(image(0.0))] * 2
    packed.write_bytes(packed.read_bytes()[:40])
    with pytest.raises(InputError, match=r"images\.\w+\.gz: cannot be read as structures"):
        read_frames(packed)


def test_a_case_may_lie_beside_compressed_frames(tmp_path):
    folder = tmp_path / "parity"
    folder.mkdir()
    (folder / "mine.toml").write_text(
        'schema_version = 1\ntitle = "t"\ntier = "quick"\n[reference]\nlevel_of_theory = "PBE"\nsource = "s"\n'
        '[protocol]\nkind = "parity"\n[[expectation]]\nquantity = "force_mae"\nunit = "meV/A"\nuncertainty = 1.0\n'
    )
    of_cp2k(folder / "x", [image(0.0), image(0.1)], [9, 9])
    with gzip.open(folder / "mine.extxyz.gz", "wb") as packed:
        packed.write((folder / "run.extxyz").read_bytes())
    assert len(load_case(folder / "mine.toml").frames) == 2


def test_end_points_without_energies_are_named_with_what_to_add(tmp_path):
    for index in range(4):
        folder = tmp_path / f"{index:02d}"
        folder.mkdir()
        atoms = image(0.3 * index)
        if index in (0, 3):
            ase.io.write(folder / "POSCAR", atoms, format="vasp")
        else:
            of_outcar(folder / "x", [atoms], [9])
    with pytest.raises(InputError) as caught:
        band_case(read_band(tmp_path), "band", where=tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: frame 0 (00/POSCAR), frame 3 (03/POSCAR) have no energy, but others have one; put the OUTCAR of "
        "that structure into 00 and into 03"
    )


def test_a_reference_trajectory_with_a_step_that_ran_out(tmp_path):
    ase.io.write(tmp_path / "md.extxyz", image())
    of_outcar(tmp_path / "x", [image(0.1 * step) for step in range(3)], [9, LIMIT, 9])
    simulated = protocol(trajectory={"file": "OUTCAR", "interval_fs": 1.0})
    with pytest.raises(InputError, match=r"md\.toml: .*/OUTCAR, ionic step 2: its 40 electronic steps ran out"):
        dynamics_case(tmp_path / "md.toml", simulated)


def test_a_structure_needs_no_converged_energy(tmp_path):
    """Laws and starts of simulations ask for geometries alone."""
    (frame,) = read_frames(of_outcar(tmp_path / "x", [image()], [LIMIT]))
    assert len(frame) == 2
