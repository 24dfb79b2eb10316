"""Velocities of positions: straight and vibrating motion, whose velocities are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import Bohr

from mlff_probes.methods.analysis.sampling import highest_frequency
from mlff_probes.methods.analysis.velocities import (
    PASSED,
    REACH,
    rounding_noise,
    rounding_step,
    velocities_from_positions,
)


def of(motion, interval_fs):
    """Velocities along x of one atom, whose ends are unknown."""
    positions = np.zeros((1, len(motion), 1, 3))
    positions[0, :, 0, 0] = motion
    found = velocities_from_positions(positions, interval_fs)[0, :, 0, 0]
    assert np.isnan(found[:REACH]).all()
    assert np.isnan(found[-REACH:]).all()
    return found[REACH:-REACH]


def test_a_straight_motion_is_exact():
    np.testing.assert_allclose(of(3.0 + 0.7 * np.arange(40), 2.5), 0.28, rtol=1e-12)


@pytest.mark.parametrize(("share", "accuracy"), [(0.1, 1e-4), (0.5, 2e-4), (0.6, 5e-4), (PASSED, 0.01)])
@pytest.mark.parametrize("interval", [1.0, 20.0])
def test_a_vibration_has_its_velocity_up_to_most_of_the_nyquist_frequency(share, accuracy, interval):
    omega = share * np.pi / interval
    time = np.arange(200) * interval
    velocity = omega * np.cos(omega * time + 0.3)[REACH:-REACH]
    found = of(np.sin(omega * time + 0.3), interval)
    assert np.abs(found - velocity).max() <= accuracy * omega
    central = np.gradient(np.sin(omega * time + 0.3), interval)[REACH:-REACH]
    assert np.abs(found - velocity).max() < 0.1 * np.abs(central - velocity).max()


def test_too_few_positions_have_no_velocities():
    assert np.isnan(velocities_from_positions(np.ones((1, 2 * REACH, 3, 3)), 1.0)).all()


@pytest.mark.parametrize(
    ("mass", "thz"),
    [(1.008, 132), (12.011, 48), (14.007, 70.7), (15.999, 65), (27, 9.7), (28.1, 15.5), (58.7, 8.9), (183.8, 6.9)],
    ids=["H2", "graphite", "N2", "CO", "Al", "Si", "Ni", "W"],
)  # fmt: skip
def test_no_solid_or_molecule_vibrates_faster_than_its_masses_allow(mass, thz):
    (highest,) = highest_frequency([mass])
    assert thz < highest < 6 * thz


LEANING = np.array([[5.1, 0.0, 0.0], [1.7, 4.3, 0.0], [-0.9, 1.1, 6.2]])


@pytest.mark.parametrize("decimals", [2, 4, 6])
@pytest.mark.parametrize("kind", ["A", "bohr", "parts of the cell"])
def test_the_digits_of_positions_are_seen(kind, decimals):
    at = np.random.default_rng(decimals).uniform(-3, 9, (30, 5, 3))
    cells = np.tile(LEANING, (30, 1, 1))
    unit = {"A": 1.0, "bohr": Bohr, "parts of the cell": np.sqrt((LEANING**2).sum() / 3)}[kind]
    if kind == "parts of the cell":
        at = (at @ np.linalg.inv(LEANING)).round(decimals) @ LEANING
    else:
        at = (at / unit).round(decimals) * unit
    assert rounding_step(at, cells) == pytest.approx(unit * 10.0**-decimals)


def test_positions_with_all_their_digits_are_not_rounded():
    at = np.random.default_rng(0).uniform(-3, 9, (30, 5, 3))
    assert rounding_step(at, np.tile(LEANING, (30, 1, 1))) == 0.0


def test_the_noise_of_rounding_is_that_of_what_is_seen():
    way = np.cumsum(np.random.default_rng(2).normal(scale=0.3, size=(1, 9000, 4, 3)), axis=1)
    noise = velocities_from_positions(way.round(1), 2.5) - velocities_from_positions(way, 2.5)
    assert np.nanvar(noise) == pytest.approx(rounding_noise(0.1, 2.5), rel=0.03)
