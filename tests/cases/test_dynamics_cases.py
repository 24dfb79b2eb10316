"""Cases of dynamics: what may stand in their files, and what they are compared with."""

from __future__ import annotations

import gzip
import re

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from mlff_probes.cases.importers.trajectory import read_curve
from mlff_probes.cases.importers.trajectory import trajectory_of as read_trajectory
from mlff_probes.cases.load import load_case, load_cases
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.measure.dynamics.protocols import ReferenceTrajectory
from mlff_probes.methods.analysis.velocities import REACH
from mlff_probes.methods.simulation.trajectory import unwrapped

CASE = """schema_version = 1
title = "Aluminium"
tier = "quick"
{more}
[protocol]
kind = "molecular_dynamics"
ensemble = "NVT"
temperature = 300.0
equilibration_steps = 10
steps = 100
sample_every = 5
{protocol}
[reference]
level_of_theory = "PBE"
source = "somebody"
"""
SURVIVAL = """
[[expectation]]
quantity = "survival"
unit = "1"
value = 1.0
uncertainty = 0.0
"""
ROW = """
[[expectation]]
quantity = "{quantity}"
unit = "{unit}"
uncertainty = 0.01
tolerance = {{ value = 1.0, unit = "{unit}", reason = "Ours." }}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dynamics").mkdir()
    ase.io.write(tmp_path / "dynamics" / "al.extxyz", bulk("Al", cubic=True))
    return tmp_path / "dynamics"


def write(folder, *, protocol="", more="", rows=SURVIVAL, name="al"):
    file = folder / f"{name}.toml"
    file.write_text(CASE.format(protocol=protocol, more=more) + rows)
    return file


def shell(file, centre=2.9):
    r = np.arange(0.5, 6, 0.1)
    file.write_text("r,g\n" + "\n".join(f"{x:.2f},{np.exp(-((x - centre) ** 2) / 0.1):.6f}" for x in r))
    return file


def test_every_case_of_the_package_says_how_large_it_is():
    cases = [case for case in load_cases() if case.family == "dynamics"]
    sizes = {case.id: len(case.protocol.start(case.frames)) for case in cases}
    assert sizes["sb2te3_300K_nve"] == 20
    assert sizes["cr_sb2te3_600K_nvt"] == 21
    assert {sizes[name] for name in sizes if name.startswith("sb2te3") and name.endswith("full")} == {2000}
    assert {sizes[name] for name in sizes if name.startswith("cr") and name.endswith("full")} == {2050}
    for case in cases:
        if case.tier == "full":  # the published protocol
            p = case.protocol
            assert (p.timestep_fs, p.friction_per_fs, p.timestep_fs * p.equilibration_steps) == (1.0, 0.01, 50_000)
            assert p.timestep_fs * p.steps == 200_000


def test_cr_sits_between_six_te_and_two_sb():
    for name in ("cr_sb2te3_21_atoms", "cr_sb2te3_41_atoms"):
        atoms = ase.io.read(DIRECTORY / "dynamics" / f"{name}.extxyz")
        (cr,) = np.flatnonzero(atoms.symbols == "Cr")
        near = np.argsort(atoms.get_distances(cr, range(len(atoms)), mic=True))[1:9]
        assert sorted(atoms.symbols[near]) == ["Sb"] * 2 + ["Te"] * 6


def test_quantities_of_another_ensemble_are_not_measured(folder):
    rows = ROW.format(quantity="energy_drift", unit="eV/atom/ps")
    with pytest.raises(InputError, match="measures no 'energy_drift'"):
        load_case(write(folder, rows=rows))


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("seeds = [1, 1]", "two seeds are the same"),
        ("seeds = [-1]", "greater than or equal to 0"),
        ("supercell = [0, 1, 1]", "greater than or equal to 1"),
        ('structure = "gone.extxyz"', "both `structure` and al.extxyz"),
        ("friction_per_fs = nan", "friction_per_fs"),
        ("[protocol.curves]\nrdf_Al_Cu = 'x.csv'", r"has no 'rdf_Al_Cu' here; it has rdf_Al_Al, rdf_all, vdos_Al"),
        ("[protocol.curves]\nrdf_Al_Al = 'x.csv'", "no file matches 'x.csv'"),
        ("[protocol.trajectory]\nfile = 'x.traj'\ninterval_fs = 0", "interval_fs"),
    ],
)
def test_what_cannot_be_is_one_error_with_file_and_key(folder, protocol, message):
    with pytest.raises(InputError, match=message) as caught:
        load_case(write(folder, protocol=protocol))
    assert str(folder / "al.toml") in str(caught.value)


def test_steps_are_whole_samples(folder):
    file = write(folder)
    file.write_text(file.read_text().replace("steps = 100", "steps = 101"))
    with pytest.raises(InputError, match="steps must be a multiple of sample_every"):
        load_case(file)


def test_the_start_is_periodic_and_a_single_frame(folder):
    slab = bulk("Al", cubic=True)
    slab.pbc = (True, True, False)
    for frames, message in (([slab], "periodic in all three"), ([bulk("Al"), bulk("Al")], "exactly one frame")):
        ase.io.write(folder / "al.extxyz", frames)
        with pytest.raises(InputError, match=message):
            load_case(write(folder))


@pytest.mark.parametrize(("index", "length"), [("-1", 4.3), ("0", 4.1), ("1:2", 4.2)])
def test_the_start_may_be_one_frame_of_several(folder, index, length):
    (folder / "al.extxyz").unlink()
    ase.io.write(folder / "aimd.extxyz", [bulk("Al", a=a, cubic=True) for a in (4.1, 4.2, 4.3)])
    case = load_case(write(folder, protocol=f'structure = "aimd.extxyz@{index}"'))
    assert case.frames[0].cell.lengths() == pytest.approx([length] * 3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("aimd.extxyz", 'found 3; choose one, the last for instance by structure = "FILE@-1"'),
        ("aimd.extxyz@::2", "exactly one frame, found 2"),
        ("aimd.extxyz@7", "@7 chooses no frame of 3; they are 0 to 2, and -1 is the last"),
        ("aimd.extxyz@last", "'last' is no slice"),
        ("gone.extxyz@-1", "no file matches 'gone.extxyz'"),
    ],
)
def test_a_start_that_is_not_one_frame_of_several(folder, given, says):
    (folder / "al.extxyz").unlink()
    ase.io.write(folder / "aimd.extxyz", [bulk("Al", a=a, cubic=True) for a in (4.1, 4.2, 4.3)])
    with pytest.raises(InputError, match=re.escape(says)):
        load_case(write(folder, protocol=f'structure = "{given}"'))


def test_frames_of_a_trajectory_are_not_chosen_behind_its_name(folder):
    ase.io.write(folder / "aimd.extxyz", [bulk("Al", cubic=True)] * 3)
    given = '[protocol.trajectory]\nfile = "aimd.extxyz@::2"\ninterval_fs = 1.0'
    with pytest.raises(InputError, match=r"'aimd.extxyz' is there, but frames of it cannot be chosen here with @"):
        load_case(write(folder, protocol=given))


def test_a_trajectory_whose_atoms_are_held_is_no_reference(folder):
    frames = [bulk("Al", cubic=True) for _ in range(3)]
    for frame in frames:
        frame.set_constraint(FixAtoms([0, 2]))
    ase.io.write(folder / "aimd.traj", frames)
    given = '[protocol.trajectory]\nfile = "aimd.traj"\ninterval_fs = 1.0'
    with pytest.raises(InputError, match=r"aimd\.traj: constraints hold 2 atoms, which a simulation lets move"):
        load_case(write(folder, protocol=given))


def test_masses_of_the_start_are_kept(folder):
    atoms = bulk("Al", cubic=True)
    atoms.set_masses([30.0] * 4)
    ase.io.write(folder / "al.extxyz", atoms)
    case = load_case(write(folder))
    assert case.protocol.start(case.frames).get_masses().tolist() == [30.0] * 4


def test_a_curve_is_a_reference(folder):
    shell(folder / "al.csv")
    rows = ROW.format(quantity="rdf_wasserstein_Al_Al", unit="A") + ROW.format(quantity="rdf_l1_Al_Al", unit="1")
    case = load_case(write(folder, protocol="[protocol.curves]\nrdf_Al_Al = 'al.csv'", rows=rows))
    assert [row.value for row in case.expectations] == [0.0, 0.0]
    assert max(case.reference.arrays["rdf_Al_Al"]) == pytest.approx(1.0, abs=0.01)
    assert case.reference.arrays["rdf_Al_Al_r"][0] == 0.5


def test_a_distance_of_zero_may_be_stated_and_a_curve_is_worked_out_all_the_same(folder):
    """So is one that is only reported: a model needs it, whatever is expected of it."""
    shell(folder / "al.csv")
    protocol = "[protocol.curves]\nrdf_Al_Al = 'al.csv'"
    rows = ROW.format(quantity="rdf_wasserstein_Al_Al", unit="A") + "value = 0.0\n"
    case = load_case(write(folder, protocol=protocol, rows=rows))
    assert [row.value for row in case.expectations] == [0.0]
    ase.io.write(folder / "aimd.extxyz", moving())
    trajectory = '[protocol.trajectory]\nfile = "aimd.extxyz"\ninterval_fs = 2.0\n'
    wanted = ROW.format(quantity="rdf_wasserstein_all", unit="A") + "value = 0.0\n"
    case = load_case(write(folder, protocol=trajectory, rows=wanted, more='report = ["rdf_l1_Al_Al"]'))
    assert {"rdf_all", "rdf_Al_Al"} <= set(case.reference.arrays)
    with pytest.raises(InputError, match="a value is given, but the stored reference yields it; leave one out"):
        load_case(write(folder, protocol=trajectory, rows=wanted.replace("value = 0.0", "value = 0.5")))


def test_without_a_curve_there_is_no_distance_to_it(folder):
    with pytest.raises(InputError, match="give a value, or a curve or trajectory"):
        load_case(write(folder, rows=ROW.format(quantity="vdos_wasserstein_Al", unit="THz")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least 8 points, found 0"),
        ("r,g\n1,2\n", "at least 8 points, found 1"),
        ("1,2\nfoo,3\n", "line 2 must hold two numbers"),
        ("1,2,3\n", "line 1 must hold two numbers"),
        ("\n".join(f"{i},1" for i in (1, 2, 3, 3, 4, 5, 6, 7)), "x must rise"),
        ("\n".join(f"{i},-1" for i in range(9)), "nowhere negative"),
        ("\n".join(f"{i},0" for i in range(9)), "somewhere positive"),
        ("\n".join(f"{i},nan" for i in range(9)), "be finite"),
    ],
)
def test_a_curve_that_is_none(tmp_path, text, message):
    file = tmp_path / "curve.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_curve(file)
    assert str(file) in str(caught.value)


def test_a_curve_with_a_comment_blanks_and_a_byte_order_mark(tmp_path):
    file = tmp_path / "curve.csv"
    file.write_text("\ufeff# of a paper\nr g\n" + "\n".join(f"{i} {i * i}" for i in range(9)))
    x, y = read_curve(file)
    assert (x[-1], y[-1]) == (8.0, 64.0)


def test_a_compressed_curve(tmp_path):
    packed = tmp_path / "curve.csv.gz"
    packed.write_bytes(gzip.compress("\n".join(f"{i},{i * i}" for i in range(9)).encode()))
    assert read_curve(packed)[1][-1] == 64.0
    packed.write_bytes(packed.read_bytes()[:20])
    with pytest.raises(InputError, match="the curve cannot be read"):
        read_curve(packed)


APART = np.array([0.01, -0.01, 0.01, -0.01])
"""Velocities along x, A/fs."""


def moving(count=30, *, momenta=True, interval=2.0):
    """Atoms that move evenly, without a total momentum, and are wrapped on the way."""
    frames = []
    for index in range(count):
        atoms = bulk("Al", cubic=True)
        atoms.positions[:, 0] += APART * interval * index
        atoms.wrap()
        if momenta:
            atoms.set_velocities(np.outer(APART, [1, 0, 0]) / units.fs)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 * index, forces=np.zeros((4, 3)))
        frames.append(atoms)
    return frames


def trajectory_of(frames, interval_fs, where):
    return read_trajectory(frames, ReferenceTrajectory(file="here", interval_fs=interval_fs), where)[0]


@pytest.mark.parametrize("momenta", [True, False])
def test_velocities_are_those_of_the_file_or_of_the_positions(momenta):
    found = trajectory_of(moving(momenta=momenta), 2.0, "here")
    known = found.moving
    np.testing.assert_allclose(known.velocities[0, ..., 0], np.tile(APART, (known.samples, 1)), rtol=1e-6)
    np.testing.assert_allclose(known.velocities[..., 1:], 0, atol=1e-12)
    assert (found.samples, known.samples) == (30, 30 if momenta else 30 - 2 * REACH)
    assert found.differentiated is not momenta
    assert found.interval_fs == known.interval_fs == 2.0
    assert known.energies[0, -1] == (-29.0 if momenta else -29.0 + REACH)


def test_velocities_that_a_writer_zeroed_are_none():
    frames = moving()
    for frame in frames:
        frame.set_momenta(np.zeros((4, 3)))
    known = trajectory_of(frames, 2.0, "here").moving
    np.testing.assert_allclose(known.velocities[0, ..., 0], np.tile(APART, (known.samples, 1)), rtol=1e-6)


def test_a_trajectory_must_be_one():
    short, mixed = moving(5), moving()
    mixed[7] = Atoms("Cu4", cell=[4, 4, 4], pbc=True)
    for frames, message in ((short, "at least 20 frames, found 5"), (mixed, "frame 7 has other atoms")):
        with pytest.raises(InputError, match=f"here: .*{message}"):
            trajectory_of(frames, 1.0, "here")


def test_a_frame_that_a_restart_wrote_twice_is_refused(folder):
    once = moving()
    with pytest.raises(InputError, match=r"here: frames 12 and 13 are the same structure \(a restart"):
        trajectory_of([*once[:13], *once[12:]], 2.0, "here")
    wrapped = once[12].copy()
    wrapped.positions += wrapped.cell[0]
    often = [*once[:13], wrapped, *once[13:21], *once[20:]]
    with pytest.raises(InputError, match=r"frames 12 and 13 are the same structure, as are 1 more"):
        load_case(
            write(
                folder, protocol=other(folder, often) + "\nskip = 5", rows=ROW.format(quantity="rdf_l1_all", unit="1")
            )
        )


def test_a_trajectory_in_which_nothing_moves_is_none():
    with pytest.raises(InputError, match="all frames are the same structure: nothing moves"):
        trajectory_of([bulk("Al", cubic=True)] * 30, 2.0, "here")


def test_temperature_of_a_known_kinetic_energy():
    """N atoms, each with 3/2 k T; without their total momentum three degrees of freedom fewer share it."""
    atoms, kelvin = bulk("Al", cubic=True), 450.0
    speed = np.sqrt(3 * units.kB * kelvin / atoms.get_masses()[0]) * units.fs
    velocities = np.zeros((1, 1, 4, 3))
    velocities[..., 0] = [[[speed, -speed, speed, -speed]]]
    fields = {
        "numbers": atoms.numbers, "masses": atoms.get_masses(), "pbc": atoms.pbc, "time_fs": np.zeros(1),
        "positions": atoms.positions[None, None], "velocities": velocities, "forces": velocities * 0,
        "energies": np.zeros((1, 1)), "cells": atoms.cell.array[None, None],
    }  # fmt: skip
    assert Trajectory(**fields).temperatures.item() == pytest.approx(kelvin)
    assert Trajectory(**fields, fixed_momentum=True).temperatures.item() == pytest.approx(kelvin * 12 / 9)
    back = Trajectory(**fields).atoms(0, 0)
    assert back.get_temperature() == pytest.approx(kelvin)


def test_unwrapping_follows_an_atom_through_many_cells():
    cell = np.array([[3.0, 0, 0], [1.0, 3.0, 0], [0, 0, 4.0]])
    way = np.cumsum(np.random.default_rng(0).normal(scale=0.2, size=(200, 5, 3)), axis=0)
    wrapped = (way @ np.linalg.inv(cell) % 1.0) @ cell
    found = unwrapped(wrapped, np.tile(cell, (200, 1, 1)), np.array([True] * 3))
    np.testing.assert_allclose(found - found[0], way - way[0], atol=1e-9)


def other(folder, frames, name="other.traj"):
    ase.io.write(folder / name, frames)
    return f"[protocol.trajectory]\nfile = '{name}'\ninterval_fs = 2.0"


def shaken(count=60, scale=0.05, symbol="Al", *, results=True):
    """Crystals whose atoms are moved at random, as are their momenta."""
    rng, frames = np.random.default_rng(0), []
    for _ in range(count):
        atoms = bulk(symbol, cubic=True)
        atoms.positions += rng.normal(scale=scale, size=(4, 3))
        atoms.set_momenta(rng.normal(size=(4, 3)))
        if results:
            atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=np.zeros((4, 3)))
        frames.append(atoms)
    return frames


def test_a_trajectory_of_another_material_is_refused(folder):
    protocol = other(folder, shaken(symbol="Cu"))
    with pytest.raises(InputError, match=r"other.traj: a trajectory of Cu cannot be compared with Al \(al.toml\)"):
        load_case(write(folder, protocol=protocol, rows=ROW.format(quantity="rdf_l1_all", unit="1")))


@pytest.mark.parametrize(
    ("quantity", "unit", "says"),
    [
        ("net_force", "meV/A", "carries no forces"),
        ("potential_energy", "eV/atom", "carries no energies"),
        ("pressure", "GPa", "no pressure is read off a trajectory"),
        ("diffusion_Al", "cm^2/s", "only an upper bound"),
    ],
)
def test_what_a_trajectory_does_not_say_is_said(folder, quantity, unit, says):
    protocol = other(folder, shaken(results=False))
    with pytest.raises(InputError, match=says) as caught:
        load_case(write(folder, protocol=protocol, rows=ROW.format(quantity=quantity, unit=unit)))
    assert "\n" not in str(caught.value)


def test_a_reference_that_is_known_too_coarsely_is_refused(folder):
    protocol = other(folder, shaken())
    with pytest.raises(InputError, match=r"known to .* K within 95 % only, and the tolerance is 1 K"):
        load_case(write(folder, protocol=protocol, rows=ROW.format(quantity="temperature", unit="K")))
    rows = ROW.format(quantity="temperature", unit="K").replace("value = 1.0", "value = 1e7")
    case = load_case(write(folder, protocol=protocol, rows=rows))
    assert case.expectations[0].uncertainty > 0.01  # its own, which is larger than what the case states


def test_a_spectrum_in_any_unit_has_area_one(folder):
    file = folder / "vdos.csv"
    file.write_text("\n".join(f"{f / 10},{300 * np.exp(-((f / 10 - 3) ** 2))}" for f in range(80)))
    case = load_case(
        write(
            folder, protocol="[protocol.curves]\nvdos_Al = 'vdos.csv'",
            rows=ROW.format(quantity="vdos_wasserstein_Al", unit="THz"),
        )
    )  # fmt: skip
    arrays = case.reference.arrays
    assert np.trapezoid(arrays["vdos_Al"], arrays["vdos_Al_frequency"]) == pytest.approx(1)


def test_what_is_not_used_of_the_start_is_said(folder):
    atoms = bulk("Al", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_momenta(np.ones((4, 3)))
    atoms.set_initial_magnetic_moments([1.0] * 4)
    atoms.info["charge"] = 1
    ase.io.write(folder / "al.extxyz", atoms)
    case = load_case(write(folder))
    assert case.notes == ("Not used of al.extxyz: constraints, velocities.",)
    assert case.frames[0].get_initial_magnetic_moments().tolist() == [1.0] * 4
    assert case.frames[0].info == {"charge": 1}
