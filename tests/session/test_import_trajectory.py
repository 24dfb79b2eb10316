"""`mlff-probes import trajectory`: from a simulation on a disk to a case that judges."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from mlff_probes.cases.load import load_case
from mlff_probes.cli import main
from mlff_probes.measure.dynamics.reference_picture import reference_picture

DATA = Path(__file__).parents[1] / "data"
STATED = ["--level=PBE", "--timestep-fs=2", "--interval-fs=6", "--ensemble=NVE", "--no-picture"]


def harmonic(frames, *, repeat=1, interval=6.0, kelvin=300.0):
    """Atoms of a crystal in wells of their own, 6.5 to 7.5 THz, seen from their centre, with velocities and forces."""
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", a=3.6, cubic=True).repeat((repeat, repeat, 1))
    masses = atoms.get_masses()[:, None, None] / units.fs**2
    omega = 2e-3 * np.pi * rng.uniform(6.5, 7.5, (len(atoms), 3, 3))
    size = np.sqrt(units.kB * kelvin / 3 / (masses * omega**2))
    phases = rng.uniform(0, 2 * np.pi, omega.shape)
    found = []
    for n in range(frames):
        angle = omega * n * interval + phases
        frame = atoms.copy()
        frame.positions += centred(size * np.cos(angle))
        frame.set_velocities(centred(-size * omega * np.sin(angle)) / units.fs)
        forces = centred(-masses * size * omega**2 * np.cos(angle))
        frame.calc = SinglePointCalculator(frame, energy=float(n % 7), forces=forces)
        found.append(frame)
    return found


def centred(modes):
    found = modes.sum(axis=-1)
    return found - found.mean(axis=0)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported(capsys, source, *options, code=0):
    assert main(["import", "trajectory", str(source), "--to=cases", *options]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_a_long_trajectory_becomes_a_case(here, capsys):
    ase.io.write("copper.extxyz", harmonic(1000, repeat=2))
    text = imported(capsys, "copper.extxyz", *STATED, "--skip=100")
    assert "900 frames of Cu16, 6 fs apart, 5.39 ps; NVE" in text
    assert "in steps of 2 fs, 4 times as long" in text
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith(("rdf", "mean", "vdos", "diff"))}
    assert float(rows["mean_frequency_Cu"].split()[1]) == pytest.approx(7.0, abs=0.1)
    assert "THz within 95 % only, and half the" in rows["mean_frequency_Cu"]
    assert rows["rdf_l1_Cu_Cu"].rstrip().endswith("judged")
    assert "only an upper bound" in rows["diffusion_Cu"]
    assert "--probe-reference=cases --probe-tier=standard -k copper" in text
    case = load_case(here / "cases" / "dynamics" / "copper.toml")
    assert {"survival", "energy_drift", "net_force", "rdf_l1_Cu_Cu"} <= {e.quantity for e in case.expectations}
    assert case.expectation("mean_frequency_Cu") is None
    assert 0 < case.expectation("rdf_l1_Cu_Cu").uncertainty < 0.075  # how far its g(r) scatters
    assert any(note.startswith("Not in this case: diffusion_Cu: ") for note in case.notes)
    protocol = case.protocol
    assert (protocol.timestep_fs, protocol.sample_every, protocol.steps) == (2.0, 3, 3 * 899)
    assert len(case.dynamics.trajectory.time_fs) == 900
    assert not case.dynamics.trajectory.differentiated
    drawn = reference_picture(case)
    assert {"rdf_all", "vdos_all", "msd_Cu", "vacf", "temperature", "potential_energy"} <= set(drawn.arrays)


def test_a_real_dump_of_lammps_is_taken_for_what_it_resolves(here, capsys):
    options = ["--level=LJ", "--units=metal", "--types=Ar", "--timestep-fs=2", "--ensemble=NVE"]
    text = imported(capsys, DATA / "lammps" / "argon.lammpstrj.gz", *options, "--id=solid")
    assert "81 frames of Ar16, 100 fs apart, 8 ps; NVE, 20 K on average" in text
    assert "and half the" in text
    written = sorted(file.name for file in (here / "cases" / "dynamics").iterdir())
    assert written == ["solid.extxyz", "solid.png", "solid.toml", "solid_trajectory.extxyz"]
    (judged,) = [
        e for e in load_case(here / "cases" / "dynamics" / "solid.toml").expectations if e.source[:5] != "exact"
    ]
    assert judged.quantity == "first_peak_Ar_Ar"
    assert judged.value == pytest.approx(3.8, abs=0.1)


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        (DATA / "cp2k" / "md", [], "time goes back at frame 28, from 54 to 42 fs"),
        (DATA / "espresso" / "md" / "h4.out.gz", [], "says nothing that a model could be judged by: first_peak_H_H"),
        ("few.extxyz", STATED, "a trajectory needs at least 20 frames, found 3"),
        ("short.extxyz", STATED[1:], "does not say at which level of theory"),
        (
            "short.extxyz",
            STATED[:1],
            "does not state the timestep (--timestep-fs=1), nor the ensemble (--ensemble=NVT), nor the temperature "
            "(--temperature=300), nor the time between its frames (--interval-fs=10); say so",
        ),
        ("short.extxyz", [*STATED, "--timestep-fs=4"], "frames 6 fs apart are no whole number of timesteps of 4 fs"),
        ("short.extxyz", [*STATED, "--skip=25"], "--skip=25 leaves nothing of 24 frames"),
        ("short.extxyz", [*STATED, "--skip=-1"], "--skip=-1: must not be negative"),
        ("short.extxyz", [*STATED, "--temperature=nan"], "--temperature=nan: must be larger than zero"),
        ("short.extxyz", [*STATED, "--interval-fs=60", "--timestep-fs=2"], "frames are some 6 fs apart, and not 60 fs"),
        (
            "sparse.extxyz",
            [*STATED, "--interval-fs=200"],
            "too sparse, or too few, to show it; say so: --temperature=300",
        ),
        ("twice.extxyz", STATED, "frames 12 to 15 repeat frames 8 to 11"),
        ("nothing.traj", STATED, "there is no such file"),
        ("nothing.traj", [*STATED[:-1], "--picture=a.doc"], "--picture=a.doc: "),
        ("held.traj", STATED, "held.traj: constraints hold 1 atoms, which a simulation lets move"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(here, capsys, source, options, says):
    images = harmonic(24)
    ase.io.write("short.extxyz", images)
    ase.io.write("few.extxyz", images[:3])
    held = [image.copy() for image in images]
    for image in held:
        image.set_constraint(FixAtoms([0]))
    ase.io.write("held.traj", held)
    ase.io.write("twice.extxyz", [*images[:12], *images[8:]])
    ase.io.write("sparse.extxyz", [Atoms(each.symbols, each.positions, cell=each.cell, pbc=True) for each in
                                   harmonic(60, interval=200.0)])  # fmt: skip
    error = imported(capsys, source, *options, code=4)
    assert says in error
    assert error.count("\n") == 1
    assert not list(here.glob("cases/**/*.*"))


def test_a_temperature_that_was_changed_on_the_way(here, capsys):
    (here / "INCAR").write_text("IBRION = 0\nPOTIM = 6\nTEBEG = 300\nTEEND = 900\nSMASS = 0\nISIF = 2\nGGA = PE\n")
    ase.io.write(here / "XDATCAR", harmonic(30), format="vasp-xdatcar")
    error = imported(capsys, here / "XDATCAR", "--level=PBE", code=4)
    assert "was taken from 300 to 900 K; a simulation here has one temperature: take a part of it" in error
