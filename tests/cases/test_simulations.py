"""Simulations as real codes wrote them: frames, time, temperature and ensemble; time that does not go on evenly."""

from __future__ import annotations

import shutil
from pathlib import Path

import ase.test
import kinisi
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from mlff_probes.cases.importers.simulations.reading import read_simulation
from mlff_probes.cases.importers.simulations.stated import Simulated
from mlff_probes.cases.importers.simulations.timing import interval_fs, refuse_changes_of_pace
from mlff_probes.core.errors import InputError
from mlff_probes.core.trajectory import Trajectory

DATA = Path(__file__).parents[1] / "data"
CP2K = DATA / "cp2k" / "md"
LAMMPS = DATA / "lammps" / "argon.lammpstrj.gz"
OF_ASE = Path(ase.test.__file__).parent / "testdata" / "vasp"
XDATCAR = Path(kinisi.__file__).parent / "tests" / "inputs" / "example_center.XDATCAR"


@pytest.mark.parametrize(
    ("file", "frames", "said"),
    [
        ("cp2k/md", 48, (2.0, 600.0, "NVT", "PBE")),
        ("espresso/md/h4.out.gz", 30, (0.4838, 300.0, "NVE", "PBE")),
    ],
)
def test_what_a_code_says_of_its_simulation(file, frames, said):
    found = read_simulation(DATA / file)
    assert len(found.frames) == frames
    assert (found.timestep_fs, found.temperature, found.ensemble, found.settings.level) == said
    assert {"energy", "forces"} <= set(found.frames[-1].calc.results)


@pytest.mark.parametrize(("name", "level"), [("vasprun_pstress.xml", "LDA"), ("OUTCAR_example_1", "PBE")])
@pytest.mark.parametrize(("smass", "ensemble"), [("-3.00", "NVE"), (" 0.00", "NVT")])
def test_what_vasp_says_of_a_simulation(tmp_path, name, level, smass, ensemble):
    """An output that ASE comes with, of a single point, as the tags of a simulation leave it."""
    text = (OF_ASE / name).read_text()
    for before, after in (
        ("IBRION = " + " " * 4 + "-1", "IBRION =      0"), ('"IBRION">    -1', '"IBRION">     0'),
        ("POTIM  = 0.5000", "POTIM  = 2.0000"), ('"POTIM">      0.50000000', '"POTIM">      2.00000000'),
        ("TEBEG  =    0.0;   TEEND  =   0.0", "TEBEG  =  500.0;   TEEND  = 500.0"), ("0.00010000</i>", "500.0</i>"),
        ("SMASS  =  -3.00", f"SMASS  =  {smass}"), ('"SMASS">     -3.00000000', f'"SMASS">     {smass}'),
    ):  # fmt: skip
        text = text.replace(before, after)
    file = tmp_path / ("vasprun.xml" if "vasprun" in name else "OUTCAR")
    file.write_text(text)
    found = read_simulation(file)
    assert (found.timestep_fs, found.temperature, found.ensemble) == (2.0, 500.0, ensemble)
    assert found.settings.level == level
    assert {"energy", "forces"} <= set(found.frames[-1].calc.results)


def test_velocities_and_forces_of_cp2k_belong_to_its_positions():
    """The kinetic energy is the one that CP2K prints, and a step of velocity Verlet leads from frame to frame."""
    found = read_simulation(CP2K / "si-pos-1.xyz")
    assert found.times_fs[:3].tolist() == [0.0, 2.0, 4.0]
    assert found.frames[1].get_kinetic_energy() == pytest.approx(
        0.019039937 * units.Hartree, rel=1e-4
    )  # si-1.ener; its masses have other digits
    assert found.frames[1].get_potential_energy() == pytest.approx(-30.9075298783 * units.Hartree)
    first, second = found.frames[:2]
    dt, masses = 2.0 * units.fs, first.get_masses()[:, None]
    step = first.get_velocities() * dt + first.get_forces() / masses * dt**2 / 2
    assert second.positions - first.positions == pytest.approx(step, abs=2e-3)  # the thermostat scales velocities
    assert first.cell.lengths() == pytest.approx(5.47)


def test_the_cell_of_cp2k_is_that_of_its_input_where_it_was_not_printed(tmp_path):
    shutil.copytree(CP2K, tmp_path / "md")
    (tmp_path / "md" / "si-1.cell").unlink()
    assert read_simulation(tmp_path / "md").frames[0].cell.lengths() == pytest.approx(5.47)
    (tmp_path / "md" / "si.inp").unlink()
    with pytest.raises(InputError, match=r"there is no cell: neither si-1\.cell nor an input with one is beside it"):
        read_simulation(tmp_path / "md")


def test_files_of_two_simulations_of_cp2k(tmp_path):
    shutil.copytree(CP2K, tmp_path / "md")
    lines = (CP2K / "si-vel-1.xyz").read_text().splitlines(keepends=True)
    (tmp_path / "md" / "si-vel-1.xyz").write_text("".join(lines[:200]))
    with pytest.raises(InputError, match=r"si-vel-1\.xyz: holds 20 times and si-pos-1\.xyz 48, or others"):
        read_simulation(tmp_path / "md")
    shutil.copy(CP2K / "si-pos-1.xyz", tmp_path / "md" / "other-pos-1.xyz")
    with pytest.raises(InputError, match="holds 2 trajectories of CP2K; name one"):
        read_simulation(tmp_path / "md")


def test_a_dump_of_lammps_needs_units_and_elements():
    found = read_simulation(LAMMPS, units="metal", types=["Ar"])
    assert found.steps[:3].tolist() == [0.0, 50.0, 100.0]
    assert set(found.frames[0].symbols) == {"Ar"}
    assert found.frames[0].get_temperature() == pytest.approx(40.0 * 15 / 16, rel=1e-3)  # of 3N degrees of freedom
    for units_, types, says in (
        (None, ["Ar"], "does not say in which units it is; say so: --units=metal"),
        ("metal", [], "has types of atoms and no elements; say which element each type is"),
        ("nonsense", ["Ar"], "cannot be read as a dump of LAMMPS"),
    ):
        with pytest.raises(InputError, match=says):
            read_simulation(LAMMPS, units=units_, types=types)


def test_an_xdatcar_is_told_of_time_by_what_lies_beside_it(tmp_path):
    shutil.copy(XDATCAR, tmp_path / "XDATCAR")
    alone = read_simulation(tmp_path / "XDATCAR")
    assert (alone.timestep_fs, alone.steps, alone.numbers.tolist()) == (None, None, [1, 2, 3, 4])
    assert interval_fs(alone, 200.0, 2.0, "x") == 200.0
    text = (tmp_path / "XDATCAR").read_text()
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "XDATCAR").write_text(text.replace("configuration=     3", "configuration=     1"))
    with pytest.raises(InputError, match="time goes back at frame 2, from 2 to 1"):
        interval_fs(read_simulation(tmp_path / "again" / "XDATCAR"), 200.0, 2.0, "x")
    (tmp_path / "INCAR").write_text(
        "IBRION = 0\nPOTIM = 1.5\nNBLOCK = 10\nTEBEG = 400; TEEND = 400\nSMASS = 0\nISIF = 2\n"
    )
    found = read_simulation(tmp_path / "XDATCAR")
    assert (found.timestep_fs, found.temperature, found.ensemble) == (1.5, 400.0, "NVT")
    assert interval_fs(found, None, 1.5, "x") == 15.0
    by_step = text
    for number in (4, 3, 2, 1):
        by_step = by_step.replace(f"configuration=     {number}", f"configuration={10 * number:6d}")
    (tmp_path / "XDATCAR").write_text(by_step)
    assert interval_fs(read_simulation(tmp_path / "XDATCAR"), None, 1.5, "x") == 15.0


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("nothing.xml", "there is no such file"),
        ("espresso", "is a folder without a trajectory of CP2K; name the file"),
        ("espresso/d3.out.gz", "is no molecular dynamics of pw.x"),
    ],
)
def test_what_is_no_simulation(file, says):
    with pytest.raises(InputError, match=says):
        read_simulation(DATA / file)


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ("IBRION = 2\nPOTIM = 0.5\n", "is no molecular dynamics: IBRION = 2; a simulation has IBRION = 0"),
        ("IBRION = 0\nML_LMLFF = .TRUE.\n", "was moved by a force field that VASP learned, which is no reference"),
    ],
)
def test_runs_of_vasp_that_are_no_reference(tmp_path, tags, says):
    shutil.copy(XDATCAR, tmp_path / "XDATCAR")
    (tmp_path / "INCAR").write_text(tags)
    with pytest.raises(InputError, match=says):
        read_simulation(tmp_path / "XDATCAR")


# Time


def said(times=None, steps=None, timestep=None):
    numbers = [None if each is None else np.array(each, dtype=float) for each in (times, steps)]
    return Simulated([Atoms("H")] * 6, times_fs=numbers[0], steps=numbers[1], timestep_fs=timestep)


@pytest.mark.parametrize(
    ("found", "given", "timestep", "interval"),
    [
        (said(times=[0, 2, 4, 6, 8, 10]), None, None, 2.0),
        (said(times=[0, 0.5, 1.001, 1.5, 2, 2.5]), None, None, 0.5),
        (said(steps=[0, 5, 10, 15, 20, 25]), None, 2.0, 10.0),
        (said(timestep=1.5), None, 1.5, 1.5),
        (said(timestep=1.0), 10.0, 1.0, 10.0),
        (said(), 7.5, None, 7.5),
    ],
)
def test_the_time_between_frames(found, given, timestep, interval):
    assert interval_fs(found, given, timestep, "x") == interval


@pytest.mark.parametrize(
    ("found", "given", "says"),
    [
        (said(times=[0, 2, 4, 6, 10, 14]), None, "frames 3 and 4 are 4 fs apart and most others 2, 2 of 5 intervals"),
        (
            said(times=[0, 2, 4, 6, 4, 6]),
            None,
            "time goes back at frame 4, from 6 to 4 fs .* 2 to 3 come again",
        ),
        (said(times=[0, 2, 4, 4, 6, 8]), None, "time goes back at frame 3, from 4 to 4 fs"),
        (said(steps=[10, 8, 6, 4, 2, 0]), None, "time goes back at frame 1, from 10 to 8"),
        (said(times=[0, 2, 4, 6, 8, 10]), 5.0, "its frames are 2 fs apart, but --interval-fs says 5"),
        (said(), None, "does not say how far apart its frames are"),
    ],
)
def test_time_that_does_not_go_on_evenly(found, given, says):
    with pytest.raises(InputError, match=says):
        interval_fs(found, given, None, "x")


def test_a_real_restart_of_cp2k_is_refused():
    found = read_simulation(CP2K)
    with pytest.raises(InputError, match=r"back at frame 28, from 54 to 42 fs .*: frames 21 to 27 come again"):
        interval_fs(found, None, 2.0, "x")


# Pace, where no file says the time


def crystal(frames=60, *, interval=5.0, kelvin=300.0, velocities=True, order=None):
    """Copper atoms that each vibrate at frequencies of their own, 2 to 7 THz."""
    rng = np.random.default_rng(3)
    atoms = bulk("Cu", a=3.6, cubic=True).repeat((2, 2, 1))
    masses = atoms.get_masses()
    omega = 2e-3 * np.pi * rng.uniform(2, 7, (len(atoms), 3, 3))
    size = np.sqrt(units.kB * kelvin * units.fs**2 / 3 / (masses[:, None, None] * omega**2))
    phases = rng.uniform(0, 2 * np.pi, omega.shape)
    times = np.arange(frames) * interval if order is None else np.asarray(order) * interval
    angle = omega * times[:, None, None, None] + phases
    positions = atoms.positions + (size * np.cos(angle)).sum(axis=-1)
    v = -(size * omega * np.sin(angle)).sum(axis=-1) if velocities else np.full_like(positions, np.nan)
    return Trajectory(
        atoms.numbers, masses, atoms.pbc, np.arange(len(times)) * interval, positions[None], v[None],
        np.full((1, *positions.shape), np.nan), np.zeros((1, len(times))),
        np.broadcast_to(atoms.cell.array, (1, len(times), 3, 3)), differentiated=not velocities,
    )  # fmt: skip


EVENLY = np.arange(60)


@pytest.mark.parametrize("velocities", [True, False])
@pytest.mark.parametrize("interval", [1.0, 5.0, 20.0, 100.0])
def test_an_even_trajectory_is_taken_whatever_its_spacing(velocities, interval):
    refuse_changes_of_pace(crystal(interval=interval, velocities=velocities), "x")


TWO_TIMESTEPS = [*EVENLY[:30], *EVENLY[30::2]]
TURNED_ROUND = [*EVENLY[:20], *EVENLY[39:19:-1], *EVENLY[40:]]


@pytest.mark.parametrize(
    ("order", "velocities", "says"),
    [
        (TWO_TIMESTEPS, True, "from frame 30 on, its velocities say, frames are some 2 fs apart, and not 1"),
        (TURNED_ROUND, True, "from frame 20 on, its velocities say, frames are backwards: a segment was turned round"),
        (TWO_TIMESTEPS, False, "from frame 30 on the atoms move 2 times as far from frame to frame as before, at once"),
        (TWO_TIMESTEPS[::-1], False, "on the atoms move 0.5 times as far from frame to frame as before"),
    ],
)
def test_another_pace_is_refused_with_the_frame(order, velocities, says):
    with pytest.raises(InputError, match=says):
        refuse_changes_of_pace(crystal(interval=1.0, order=order, velocities=velocities), "x")


def test_frames_are_numbered_as_in_the_file():
    with pytest.raises(InputError, match="from frame 130 on"):
        refuse_changes_of_pace(crystal(interval=2.0, order=TWO_TIMESTEPS, velocities=False), "x", skipped=100)
