"""Trajectories to compare with as other codes and tools leave them: renumbered, repeated, adrift, with other labels."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_probes.cases.importers.trajectory import temperature_of, trajectory_of
from mlff_probes.core.errors import InputError
from mlff_probes.measure.dynamics.protocols import ReferenceTrajectory

SALT = bulk("NaCl", "rocksalt", a=5.6, cubic=True)


def vibrating(count=60, *, interval=2.0, crystal=SALT, kelvin=500.0, drift=(0.0, 0.0, 0.0), labels="ase", seed=3):
    """A crystal of independent oscillators with their forces, without velocities."""
    rng, frames = np.random.default_rng(seed), []
    omega = 2 * np.pi * rng.uniform(0.003, 0.006, (len(crystal), 3))
    phase = rng.uniform(0, 2 * np.pi, omega.shape)
    speed = np.sqrt(2 * units.kB * kelvin / crystal.get_masses())[:, None] * units.fs
    for index in range(count):
        frame, time = crystal.copy(), index * interval
        off = speed / omega * np.sin(omega * time + phase)
        frame.positions += off + time * np.array(drift)
        forces = -crystal.get_masses()[:, None] * omega**2 * off / units.fs**2
        if labels == "ase":
            frame.calc = SinglePointCalculator(frame, energy=-1.0 * index, forces=forces)
        elif labels:
            frame.info[f"{labels}energy"], frame.arrays[f"{labels}forces"] = -1.0 * index, forces
        frames.append(frame)
    return frames


def read(frames, interval=2.0, **given):
    return trajectory_of(frames, ReferenceTrajectory(file="here", interval_fs=interval, **given), "here")


def resorted(frames, order, since):
    """The frames as another tool numbers their atoms from one of them on."""
    found = []
    for index, frame in enumerate(frames):
        other = frame[order] if index >= since else frame.copy()
        forces = frame.calc.results["forces"]
        other.calc = SinglePointCalculator(
            other, energy=frame.get_potential_energy(), forces=forces[order] if index >= since else forces
        )
        found.append(other)
    return found


ORDERS = {
    "two of a kind": [0, 1, 4, 3, 2, 5, 6, 7],
    "three in a ring": [2, 1, 6, 3, 4, 5, 0, 7],
    "by elements": [0, 2, 4, 6, 1, 3, 5, 7],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_atoms_that_are_renumbered_are_named_or_mapped(order):
    frames = vibrating()
    other = resorted(frames, order, since=33)
    with pytest.raises(
        InputError, match=r"here: from frame 33 on atoms seem to be numbered in another order: \d -> \d"
    ):
        read(other)
    with pytest.raises(InputError, match="from frame 33 on"):  # as in the file
        read(other[7:], skip=7)
    (found, notes, _), (whole, said, _) = read(other, reorder_atoms=True), read(frames)
    np.testing.assert_allclose(found.positions, whole.positions, atol=1e-12)
    np.testing.assert_array_equal(found.forces, whole.forces)
    assert not any("renumbered" in note for note in said)
    (note,) = (note for note in notes if note not in said)
    assert note.startswith("Atoms were renumbered as in the first frame from frame 33 on: ")


def test_renumbered_there_and_back_and_once_more():
    frames = vibrating()
    there = resorted(frames, ORDERS["two of a kind"], since=20)
    back = [*there[:40], *frames[40:50], *there[50:]]
    found = read(back, reorder_atoms=True)[0]
    np.testing.assert_allclose(found.positions, read(frames)[0].positions, atol=1e-12)
    with pytest.raises(InputError, match="from frame 20 on"):
        read(back)


def test_renumbered_by_chance_in_every_frame():
    rng = np.random.default_rng(0)
    found = [resorted([frame], rng.permutation(8), since=0)[0] for frame in vibrating()]
    with pytest.raises(InputError, match=r"from frame \d on"):
        read(found)


def test_atoms_that_do_change_places_may_be_told_so():
    frames = vibrating()
    assert read(resorted(frames, ORDERS["two of a kind"], since=33), reorder_atoms=False)[0].samples == 60


def test_what_moves_fast_or_together_is_not_renumbered():
    """A liquid in sparse frames, hot hydrogen, and a crystal that is put back into its cell."""
    rng = np.random.default_rng(1)
    sparse = vibrating(40, interval=400.0, kelvin=900.0, labels="")
    for frame, way in zip(sparse, np.cumsum(rng.normal(scale=0.7, size=(40, 8, 3)), axis=0), strict=True):
        frame.positions += way
    hydrogen = vibrating(crystal=bulk("Pd", cubic=True) + Atoms("H", [(1.9, 0.0, 0.0)]), kelvin=3000.0, labels="")
    shifted = vibrating(labels="")
    for frame in shifted[30:]:
        frame.positions += [1.3, 0.4, 0.2]
    for frames, interval in ((sparse, 400.0), (hydrogen, 2.0), (shifted, 2.0)):
        for frame in frames:
            frame.wrap()
        assert read(frames, interval)[0].samples == len(frames)


def test_long_trajectories_are_looked_through_at_once():
    frames = vibrating(3000, labels="")
    for frame in frames[::2]:  # a jump of one atom in each frame, which no mapping explains
        frame.positions[0] += 1.5
    assert read(frames)[0].samples == 3000


@pytest.mark.parametrize(("first", "count", "says"), [(20, 12, "frames 32 to 43 repeat frames 20 to 31 (a run"),
                                                       (31, 1, "frames 31 and 32 are the same structure"),
                                                       (11, 1, "frame 32 repeats frame 11 (a run")])  # fmt: skip
def test_frames_that_a_run_from_a_checkpoint_repeats(first, count, says):
    frames = vibrating()
    again = [frame.copy() for frame in frames[first : first + count]]
    for frame in again:
        frame.positions += frame.cell[1] - 2 * frame.cell[2]
        frame.wrap()
    with pytest.raises(InputError, match=re.escape(f"here: {says}")):
        read([*frames[:32], *again, *frames[32:]])
    with pytest.raises(InputError, match=re.escape(f"here: {says}")):
        read([*frames[4:32], *again, *frames[32:]], skip=4)


GAPS = {
    "frames left out": (lambda frames: [*frames[:40], *frames[70:]], 39),
    "from a checkpoint, with other random numbers": (lambda frames: [*frames[:40], *shaken(frames[20:])], 39),
    "another run": (lambda frames: [*frames[:25], *vibrating(40, labels="", seed=8)], 24),
    "a start of its own": (lambda frames: [SALT.copy(), *frames[5:]], 0),
}


def shaken(frames):
    """The frames, a little off as after a step with another random number."""
    rng, frames = np.random.default_rng(5), [frame.copy() for frame in frames]
    for frame in frames:
        frame.positions += rng.normal(scale=1e-3, size=(len(frame), 3))
    return frames


@pytest.mark.parametrize("kind", GAPS)
def test_frames_that_do_not_follow_one_another_are_refused(kind):
    change, at = GAPS[kind]
    frames = change(vibrating(120, labels=""))
    for frame in frames:
        frame.wrap()
    with pytest.raises(InputError, match=f"here: between frames {at} and {at + 1} atoms move \\d+ times as far"):
        read(frames)
    if at:
        with pytest.raises(InputError, match=f"here: between frames {at} and {at + 1} atoms"):
            read(frames[3:], skip=3)
    else:
        assert read(frames[1:], skip=1)[0].samples == 115


@pytest.mark.parametrize("interval", [0.5, 5.0, 60.0, 333.0])
def test_frames_of_any_spacing_follow_one_another(interval):
    assert read(vibrating(200, interval=interval, labels=""), interval)[0].samples == 200


@pytest.mark.parametrize("labels", ["REF_", "dft_"])
def test_labels_under_the_usual_names_are_read_and_said(labels):
    found, notes, unmapped = read(vibrating(labels=labels))
    np.testing.assert_array_equal(found.forces, read(vibrating())[0].forces)
    assert found.energies[0, 7] == -7.0
    assert notes[:1] == (f"Labels: energy from '{labels}energy', forces from '{labels}forces'.",)
    assert unmapped == ""


def test_labels_under_names_of_ones_own_are_mapped():
    frames = vibrating(labels="mine_")
    found, _, unmapped = read(frames)
    assert np.isnan(found.forces).all()
    assert unmapped.endswith('say so: energy_key = "mine_energy" and forces_key = "mine_forces"')
    stated = {"energy_key": "mine_energy", "forces_key": "mine_forces"}
    np.testing.assert_array_equal(read(frames, **stated)[0].forces, read(vibrating())[0].forces)
    with pytest.raises(InputError, match=r"no frame has forces under 'gone'; found per atom mine_forces"):
        read(frames, forces_key="gone")


def with_velocities(frames, interval=2.0):
    """The frames with velocities, those of the middle ones that positions give."""
    moving = read(frames, interval)[0]
    for frame, velocities in zip(frames, np.nan_to_num(moving.velocities[0]), strict=True):
        frame.set_velocities(velocities / units.fs)
    return frames


@pytest.mark.parametrize("velocities", [True, False], ids=["velocities", "positions"])
def test_a_crystal_that_drifts_is_as_hot_as_one_that_does_not(velocities):
    """2 A/ps of 29 u are 470 K of 3 degrees of freedom, and 59 K of 24."""
    drift = np.array([0.012, -0.009, 0.013])
    still, adrift = vibrating(labels=""), vibrating(labels="", drift=drift)
    if velocities:
        still, adrift = with_velocities(still), with_velocities(adrift)
        for frame in adrift:
            frame.set_velocities(frame.get_velocities() + drift / units.fs)
    for frame in adrift:
        frame.wrap()
    (one, quiet, _), (other, notes, _) = read(still), read(adrift)
    np.testing.assert_allclose(other.moving.temperatures, one.moving.temperatures, rtol=1e-6, atol=1e-6)
    assert one.degrees_of_freedom == other.degrees_of_freedom == 21
    assert not any("drift" in note for note in quiet)
    (note,) = (note for note in notes if "drift" in note)
    assert note.startswith("All atoms drift together, at up to ")
    assert note.endswith(" K).")


def test_the_heat_of_momentum_that_is_free_is_that_of_all_degrees_of_freedom():
    """In equilibrium, with the momentum free or fixed, the mean is the temperature of the bath."""
    rng, frames, kelvin = np.random.default_rng(0), vibrating(1500, crystal=bulk("Pb", cubic=True), labels=""), 350.0
    for fixed in (False, True):
        for frame in frames:
            velocities = rng.normal(scale=np.sqrt(units.kB * kelvin / frame.get_masses()[0]), size=(4, 3))
            frame.set_velocities(velocities - fixed * velocities.mean(axis=0))
        found, notes, _ = read(frames)
        assert found.temperatures.mean() == pytest.approx(kelvin, rel=0.03)
        printed = np.mean([frame.get_temperature() for frame in frames])
        said = (
            f"The total momentum is zero: the temperature is that of 3N - 3 degrees of freedom, "
            f"{found.temperatures.mean():.1f} K on average (of 3N, as most codes print it, {printed:.1f} K)."
        )
        assert notes == ((said,) if fixed else ())


def test_positions_too_sparse_for_velocities_tell_no_temperature():
    """A lattice that is sampled every 200 fs: differences of positions are no velocities."""
    still = [frame.copy() for frame in vibrating(60, interval=200.0, labels="")]
    for frame in still:
        frame.positions -= frame.get_masses() @ (frame.positions - SALT.positions) / frame.get_masses().sum()
    found, notes, _ = read(still, 200.0)
    assert temperature_of(found) is None
    assert notes == ()
    for frame in still:
        frame.set_velocities(np.random.default_rng(0).normal(size=(8, 3)))
    known = read(still, 200.0)[0]
    assert temperature_of(known) == pytest.approx(known.temperatures.mean())


def test_atoms_that_never_move_were_held():
    """Their constraints were lost on the way, as in files of positions alone."""
    frames = vibrating(labels="")
    for frame in frames:
        frame.positions[[2, 5]] = frames[0].positions[[2, 5]]
    with pytest.raises(InputError, match=r"here: 2 of 8 atoms, the first of them 2, stay where they are in all frames"):
        read(frames)


@pytest.mark.parametrize("count", [0, 3])
def test_a_trajectory_of_few_frames_or_none_is_refused(count):
    with pytest.raises(InputError, match=f"a trajectory needs at least .* frames, found {count}"):
        read(vibrating(count, labels=""))


def test_positions_with_few_digits_are_said():
    frames = vibrating(labels="", interval=1.0)
    for frame in frames:
        frame.positions = frame.positions.round(3)
    found, (*_, note), _ = read(frames, interval=1.0)
    assert found.rounded == pytest.approx(1e-3)
    assert note.startswith("Positions are rounded to 0.001 A, which leaves ")


@pytest.mark.parametrize("stated", [1.0, 2.5, 7.0])
@pytest.mark.parametrize("carries", ["forces", "velocities"])
def test_a_time_between_frames_that_is_not_that_of_the_frames_is_refused(carries, stated):
    """Between the frames lie 3 fs, and none of what they carry depends on what is said of it."""
    frames = vibrating(150, interval=3.0, labels="ase" if carries == "forces" else "")
    if carries == "velocities":
        frames = with_velocities(frames, 3.0)[15:-15]
    assert read(frames, 3.0)[0].interval_fs == 3.0
    with pytest.raises(
        InputError, match=f"here: by their positions and {carries} the frames are (3|3.0\\d|2.9\\d) fs apart"
    ):
        read(frames, stated)


def test_forces_in_another_unit_are_refused():
    frames = vibrating(150)
    for frame in frames:
        frame.calc.results["forces"] = frame.calc.results["forces"] * (units.Bohr / units.Hartree)
    with pytest.raises(InputError, match="or mend the units of the forces"):
        read(frames)


def test_forces_of_other_frames_are_refused():
    frames = vibrating(150)
    for frame in frames:
        frame.calc.results["forces"] = -frame.calc.results["forces"]
    with pytest.raises(InputError, match="here: atoms do not move as the forces of the frames say"):
        read(frames)


def test_of_sparse_frames_and_of_atoms_without_forces_nothing_is_said():
    frames = vibrating(150, interval=90.0)
    assert read(frames, 30.0)[0].samples == 150
    still = vibrating(150)
    for frame in still:
        frame.calc.results["forces"] = np.zeros((8, 3))
    assert read(still, 30.0)[0].samples == 150
