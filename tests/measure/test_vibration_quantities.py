"""What is read off harmonic crystals whose spectra are known: any length, spacing and number of atoms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytic import protocol
from ase import Atoms, units
from scipy.stats import ortho_group

from mlff_probes.core.case import Case
from mlff_probes.core.trajectory import ReferenceDynamics, Trajectory
from mlff_probes.measure.dynamics.observables import Observables, Sample, longest_window_fs
from mlff_probes.measure.dynamics.trajectory_quantities import quantity_value
from mlff_probes.measure.measurement import reference_measurement
from mlff_probes.methods.analysis.velocities import (
    REACH,
    rounding_noise,
    rounding_step,
    velocities_from_positions,
)

KELVIN = 400.0
CELL_A = 12.0
THERMAL = units.kB * KELVIN * units.fs**2
"""Mean of m v^2 of a component, u (A/fs)^2."""


def crystal(thz, seed, *, interval_fs, samples, symbol="Ni", replicas=1, chance=True):
    """Normal modes of given frequencies, a multiple of three, each with a thermal energy and a phase by chance.

    Without `chance` all modes have the mean energy.
    """
    rng = np.random.default_rng(seed)
    modes, omega = len(thz), 2 * np.pi * np.asarray(thz) / 1000
    masses = Atoms(f"{symbol}{modes // 3}").get_masses()
    vectors = ortho_group.rvs(modes, random_state=rng) if modes > 1 else np.eye(1)
    energies = rng.exponential(size=(replicas, modes)) if chance else np.ones((replicas, modes))
    speed = np.sqrt(2 * THERMAL * energies)[:, None]
    angle = omega * np.arange(samples)[:, None] * interval_fs + rng.uniform(0, 2 * np.pi, (replicas, 1, modes))

    def of_atoms(by_mode):
        return (by_mode @ vectors).reshape(replicas, samples, -1, 3) / np.sqrt(masses)[:, None]

    sites = rng.uniform(0, CELL_A, (modes // 3, 3))
    return Trajectory(
        numbers=Atoms(f"{symbol}{modes // 3}").numbers, masses=masses, pbc=np.ones(3, bool),
        time_fs=np.arange(samples) * interval_fs, positions=sites + of_atoms(speed / omega * np.sin(angle)),
        velocities=of_atoms(speed * np.cos(angle)),
        forces=of_atoms(-speed * omega * np.sin(angle)) * masses[:, None] / units.fs**2,
        energies=np.zeros((replicas, samples)), cells=np.tile(CELL_A * np.eye(3), (replicas, samples, 1, 1)),
    )  # fmt: skip


def positions_only(trajectory, *, forces, decimals=8):
    """The same as it is read from a file without velocities, and perhaps without forces."""
    positions = trajectory.positions.round(decimals)
    velocities = velocities_from_positions(positions, trajectory.interval_fs)
    known = trajectory.forces if forces else np.full_like(positions, np.nan)
    step = rounding_step(positions[0], trajectory.cells[0])
    return replace(
        trajectory, positions=positions, velocities=velocities, forces=known, differentiated=True,
        rounded=step, velocity_noise=rounding_noise(step, trajectory.interval_fs),
    )  # fmt: skip


def value(trajectory, quantity, *, reference=None, window_fs=np.inf):
    """A quantity of a trajectory, in a case that simulates the same time."""
    steps = trajectory.samples - 1
    here = protocol("NVE", temperature=KELVIN, timestep_fs=trajectory.interval_fs, steps=steps, sample_every=1,
                    equilibration_steps=0, seeds=tuple(range(trajectory.replicas)))  # fmt: skip
    sample = Sample(trajectory, trajectory.positions[0, 0], 0.0, CELL_A**3, reference=reference, window_fs=window_fs)
    return quantity_value(Observables(here, sample), quantity, "-")


def debye(modes, top_thz):
    return top_thz * ((np.arange(modes) + 0.5) / modes) ** (1 / 3)


@pytest.mark.parametrize("forces", [True, False], ids=["forces", "bare"])
@pytest.mark.parametrize("interval", [1.0, 3.0, 7.0, 12.0, 18.0, 25.0, 33.0, 41.0, 50.0])
def test_positions_alone_give_the_truth_or_nothing(interval, forces):
    """A spectrum up to 8.4 THz: half of the Nyquist frequency at 30 fs, 0.84 of it at 50 fs."""
    thz = debye(48, 8.4)
    whole = crystal(thz, 1, interval_fs=interval, samples=round(9000 / interval), chance=False)
    found = positions_only(whole, forces=forces)
    kelvin, frequency = value(found, "temperature"), value(found, "mean_frequency_all")
    if (forces is False and interval > 25) or interval == 50:
        assert kelvin.problem.unresolved
        assert frequency.problem.unresolved
        assert f"samples every {interval:g} fs" in kelvin.problem.reason
        assert "fs or less" in frequency.problem.reason
        return
    assert kelvin.value == pytest.approx(KELVIN, abs=kelvin.uncertainty)
    assert kelvin.uncertainty < 0.06 * KELVIN
    assert frequency.value == pytest.approx(np.mean(thz), abs=frequency.uncertainty)
    assert kelvin.samples.used == kelvin.samples.of - 2 * REACH
    assert "20 at the ends, where velocities cannot" in str(frequency.samples)


@pytest.mark.parametrize(("atoms", "length_fs", "top_thz"), [(4, 12000, 6), (16, 8000, 12), (30, 12000, 5)])
def test_intervals_hold_what_the_next_simulation_would_say(atoms, length_fs, top_thz):
    """Modes of a harmonic crystal keep their energies for ever: only their number says how well the mean is known."""
    thz, interval = debye(3 * atoms, top_thz), 100 / top_thz
    found = [value(crystal(thz, seed, interval_fs=interval, samples=round(length_fs / interval)), "mean_frequency_all")
             for seed in range(30)]  # fmt: skip
    known = [one for one in found if one.problem is None]
    hits = sum(abs(one.value - thz.mean()) <= one.uncertainty for one in known)
    print(hits, len(known), np.std([one.value for one in known]), np.mean([one.uncertainty for one in known]))
    assert len(known) >= 20
    assert hits >= 0.93 * len(known)


@pytest.mark.parametrize("velocities", [True, False], ids=["velocities", "positions"])
@pytest.mark.parametrize(("samples", "interval"), [(200, 2.0), (120, 5.0), (900, 1.0)])
def test_too_short_is_refused_with_how_long_it_must_be(samples, interval, velocities):
    thz = debye(60, 15.0)
    whole = crystal(thz, 2, interval_fs=interval, samples=samples)
    found = whole if velocities else positions_only(whole, forces=True)
    reason = value(found, "mean_frequency_all").problem.reason
    assert "periods of the mean frequency, 1" in reason
    times = float(reason.split("simulate ")[1].split(" times")[0])
    windows_fs = longest_window_fs(1, (found.moving.samples - 1) * interval)
    assert times * windows_fs * np.sqrt(np.mean(thz**2)) / 1000 == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("samples", [20, 21, 24, 30])
def test_hardly_any_velocities_are_unresolved(samples):
    found = positions_only(crystal(debye(12, 8.0), 1, interval_fs=5.0, samples=samples), forces=True)
    for quantity in ("temperature", "mean_frequency_all"):
        assert value(found, quantity).problem.unresolved


def test_a_trajectory_that_is_as_much_longer_as_was_said_resolves():
    thz = debye(60, 15.0)
    assert value(crystal(thz, 2, interval_fs=5.0, samples=700), "mean_frequency_all").problem is None


def spectrum_of(trajectory, window_fs):
    here = protocol("NVE", timestep_fs=trajectory.interval_fs, steps=trajectory.samples - 1, sample_every=1,
                    equilibration_steps=0, seeds=tuple(range(trajectory.replicas)))  # fmt: skip
    sample = Sample(trajectory, trajectory.positions[0, 0], 0.0, CELL_A**3, window_fs=window_fs)
    return {"vdos_all": Observables(here, sample).spectrum("all")}


@pytest.mark.parametrize("ref_ps", [9, 24])
@pytest.mark.parametrize("spacings", [(4.0, 4.0), (4.0, 12.0)])
def test_a_model_that_is_its_reference_is_near_it_however_long_either_is(ref_ps, spacings):
    """Both spectra are as broad as that of the shorter one."""
    thz = debye(90, 12.0)
    other = crystal(thz, 3, interval_fs=spacings[1], samples=round(1000 * ref_ps / spacings[1]), chance=False)
    model = crystal(thz, 4, interval_fs=spacings[0], samples=4000, chance=False, replicas=2)
    windows = [longest_window_fs(t.replicas, (t.samples - 1) * t.interval_fs) for t in (model, other)]
    curves = spectrum_of(other, windows[0])
    near = value(model, "vdos_wasserstein_all", reference=curves, window_fs=windows[1])
    assert near.value < 0.15
    softer = crystal(0.9 * thz, 4, interval_fs=spacings[0], samples=4000, chance=False, replicas=2)
    far = value(softer, "vdos_wasserstein_all", reference=curves, window_fs=windows[1])
    assert far.value == pytest.approx(0.9, abs=0.1)


def test_a_reference_of_few_modes_knows_its_spectrum_less_well():
    """By about the width of its spectrum over the root of their number, 2.3 THz / sqrt(N), within 95 %."""
    found = {}
    for atoms in (8, 60):
        whole = crystal(debye(3 * atoms, 12.0), 3, interval_fs=8.0, samples=1500)
        here = Case(
            id="here", family="dynamics", title="Here", tier="quick", frames=(whole.atoms(0, 0),), stored=None,
            protocol=protocol("NVE", timestep_fs=8.0, steps=1495, equilibration_steps=0, seeds=(1,)),
            expectations=(), level_of_theory="PBE", source="here", reports=(),
            dynamics=ReferenceDynamics(trajectory=whole),
        )  # fmt: skip
        found[atoms] = reference_measurement(here, ["vdos_wasserstein_all"]).values["vdos_wasserstein_all"]
    assert found[60].value == found[8].value == 0.0
    assert 0.5 < found[8].uncertainty < 2
    assert 0.2 < found[60].uncertainty < 0.6


def test_digits_that_a_writer_dropped_are_no_vibrations():
    thz = debye(60, 6.0)
    whole = crystal(thz, 5, interval_fs=2.0, samples=5000)
    shaken = whole.positions + np.random.default_rng(0).normal(scale=3e-4, size=whole.positions.shape)
    for forces, says in ((True, "cannot be above the root mean squared"), (False, "comes from above")):
        found = value(positions_only(whole, forces=forces, decimals=3), "mean_frequency_all")
        assert "positions are rounded to 0.001 A, so that " in found.problem.reason
        assert found.problem.reason.endswith(
            "% of what their differences every 2 fs show is noise; record them with more digits"
        )
        found = value(positions_only(replace(whole, positions=shaken), forces=forces), "mean_frequency_all")
        assert says in found.problem.reason
        assert "noise is part of it" in found.problem.reason
    fine = value(positions_only(whole, forces=True, decimals=5), "mean_frequency_all")
    assert fine.value == pytest.approx(thz.mean(), abs=fine.uncertainty)


@pytest.mark.parametrize(("decimals", "interval"), [(2, 10.0), (2, 5.0), (3, 2.0), (3, 1.0), (3, 0.5), (4, 0.5)])
def test_the_temperature_of_rounded_positions_is_the_truth_or_refused(decimals, interval):
    """Without the correction by up to 9 % too hot, in intervals of less than that."""
    whole = crystal(debye(60, 6.0), 9, interval_fs=interval, samples=round(4000 / interval), chance=False)
    rounded = positions_only(whole, forces=True, decimals=decimals)
    found, true = value(rounded, "temperature"), value(positions_only(whole, forces=True), "temperature")
    share = rounded.moving.noise_share
    print(share, true, found)
    if share > 0.12:
        assert found.problem.reason.endswith("record them with more digits")
        return
    assert found.value == pytest.approx(true.value, abs=found.uncertainty)
    assert found.value == pytest.approx(true.value, rel=0.3 * share + 1e-3)
    assert found.uncertainty < true.uncertainty + 1.5 * share * KELVIN


def test_the_bound_of_forces_and_velocities_is_kept_on_the_side_of_the_model():
    """White noise on the velocities, which no force has made."""
    whole = crystal(debye(60, 6.0), 6, interval_fs=10.0, samples=1500, replicas=2)
    assert value(whole, "mean_frequency_all").problem is None
    noise = np.random.default_rng(0).normal(scale=0.3 * whole.velocities.std(), size=whole.velocities.shape)
    found = value(replace(whole, velocities=whole.velocities + noise), "mean_frequency_all")
    assert "cannot be above the root mean squared frequency" in found.problem.reason


def langevin(thz, friction_per_fs, *, replicas=4, interval_fs=4.0, samples=3000):
    """One crystal of independent modes on a Langevin thermostat, integrated by BAOAB."""
    rng, omega = np.random.default_rng(7), 2 * np.pi * np.asarray(thz) / 1000
    shape, half = (replicas, len(thz)), interval_fs / 2
    kept = np.exp(-friction_per_fs * interval_fs)
    mass = Atoms("Ni").get_masses()[0]
    spread = np.sqrt(THERMAL / mass)
    x, v, rows = rng.normal(size=shape) * spread / omega, rng.normal(size=shape) * spread, []
    for _ in range(samples):
        v = v - half * omega**2 * x
        x = x + half * v
        v = kept * v + np.sqrt(1 - kept**2) * spread * rng.normal(size=shape)
        x = x + half * v
        v = v - half * omega**2 * x
        rows.append((x, v))
    x, v = (
        np.moveaxis(each, 0, 1).reshape(replicas, samples, -1, 3) for each in map(np.array, zip(*rows, strict=True))
    )
    whole = crystal(thz, 8, interval_fs=interval_fs, samples=samples, replicas=replicas)
    forces = -mass * omega.reshape(-1, 3) ** 2 * x / units.fs**2
    return replace(whole, positions=x, velocities=v, forces=forces)


def test_a_thermostat_whose_noise_drowns_the_spectrum_is_refused_and_a_weak_one_is_not():
    thz = debye(24, 5.0)
    found = value(langevin(thz, 0.02), "mean_frequency_all")
    assert "cannot be above the root mean squared frequency that forces and velocities say, 3.8" in found.problem.reason
    weak = value(langevin(thz, 0.0002), "mean_frequency_all")
    assert weak.value == pytest.approx(thz.mean(), abs=weak.uncertainty)
