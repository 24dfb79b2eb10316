"""The page for a material of one's own is run as it is printed, beside a band as VASP leaves it."""

from __future__ import annotations

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.mep import NEB
from ase.optimize import BFGS
from printed import run_page


def relaxed_band():
    """A vacancy in copper and its hop, five images by EMT."""
    crystal = bulk("Cu", cubic=True).repeat(2)
    hopping = int(np.argsort(crystal.get_distances(0, range(len(crystal)), mic=True))[1])
    first, last = crystal.copy(), crystal.copy()
    last.positions[hopping] = crystal.positions[0]
    ends = [first, last]
    for end in ends:
        del end[0]
        end.calc = EMT()
        BFGS(end, logfile=None).run(fmax=0.02)
    images = [first, *(first.copy() for _ in range(3)), last]
    for image in images[1:-1]:
        image.calc = EMT()
    band = NEB(images, climb=True, method="improvedtangent")
    band.interpolate(mic=True)
    BFGS(band, logfile=None).run(fmax=0.05)
    return images


def rows(values):
    return "".join("  " + " ".join(f"{value:14.8f}" for value in row) + "\n" for row in values)


def outcar(atoms):
    """An OUTCAR of one ionic step with these positions, forces and energy, without settings."""
    energy = atoms.get_potential_energy()
    return (
        f" vasp.6.4.2 toy\n POTCAR:    PAW_PBE Cu 22Jun2005\n POTCAR:    PAW_PBE Cu 22Jun2005\n VRHFIN =Cu: d10 p1\n"
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=      8\n"
        f"   number of dos      NEDOS =    301   number of ions     NIONS = {len(atoms):6d}\n"
        f"   ions per type =            {len(atoms):6d}\n   ISPIN  =      1    spin polarized calculation?\n"
        "   NELM   =     60;\n"
        " k-points in reciprocal lattice and weights: toy\n   0.00000000  0.00000000  0.00000000       1.000\n\n"
        "--------------------------- Iteration      1(   9)  ---------------------------\n"
        "------------------------ aborting loop because EDIFF is reached ----------------------------------------\n"
        "      direct lattice vectors                 reciprocal lattice vectors\n"
        f"{rows(np.hstack([atoms.cell.array, np.linalg.inv(atoms.cell.array).T]))}"
        f"\n POSITION                                       TOTAL-FORCE (eV/Angst)\n {'-' * 83}\n"
        f"{rows(np.hstack([atoms.positions, atoms.get_forces()]))} {'-' * 83}\n"
        "\n  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        f"  free  energy   TOTEN  =   {energy:16.8f} eV\n\n"
        f"  energy  without entropy=   {energy:16.8f}  energy(sigma->0) =   {energy:16.8f}\n\n"
    )


def test_the_page_runs_and_says_what_it_shows(tmp_path):
    for number, image in enumerate(relaxed_band()):
        (folder := tmp_path / "neb" / f"{number:02d}").mkdir(parents=True)
        (folder / "OUTCAR").write_text(outcar(image))
    said = run_page("docs/own-material.md", tmp_path)
    assert said
    for shown, printed in said:
        assert shown.strip() in printed
    assert (tmp_path / "cases" / "sliding" / "my_tis2_fixed_gap_0.0.provenance.json").exists()
