"""Diffusion of walkers whose coefficient is known; a heavy host keeps the centre of mass."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.analysis import DiffusionCoefficient

from mlff_probes.methods.analysis.diffusion import diffusion
from mlff_probes.methods.analysis.displacement import mean_squared_displacement
from mlff_probes.methods.analysis.statistics import Unresolved

INTERVAL_FS = 250.0
HOST = 1e12


def with_host(paths):
    """Paths of walkers of mass 1 after one atom at rest, heavy enough to be the centre of mass: positions, masses."""
    replicas, samples, atoms, _ = paths.shape
    return np.concatenate([np.zeros((replicas, samples, 1, 3)), paths], axis=2), np.array([HOST, *[1.0] * atoms])


def brownian(rng, shape, per_step):
    """Walkers whose mean squared displacement is 6 times `per_step` (A^2) a step."""
    return np.cumsum(rng.normal(size=(*shape, 3)) * np.sqrt(2 * per_step), axis=1)


def hoppers(rng, shape, rate, length):
    """Walkers that hop along an axis, `rate` times a step, and tremble about their sites."""
    hops = rng.poisson(rate, size=shape)
    path = np.zeros((*shape, 3))
    for number in range(hops.max(initial=0)):
        step = np.eye(3)[rng.integers(0, 3, size=shape)] * rng.choice([-length, length], size=shape)[..., None]
        path += step * (hops > number)[..., None]
    return np.cumsum(path, axis=1) + rng.normal(scale=0.1, size=path.shape)


def coefficient(paths, *, hop_length, chain=150):
    positions, masses = with_host(paths)
    time = 7000 + INTERVAL_FS * np.arange(paths.shape[1])
    found = mean_squared_displacement(positions, masses, np.arange(len(masses)) > 0, time)
    return diffusion(found, hop_length=hop_length, chain=chain)


def test_intervals_of_diffusion_are_honest():
    """A hundred trajectories of three walkers in two replicas."""
    rng = np.random.default_rng(3)
    per_step = 0.02
    true = per_step / INTERVAL_FS * 1e-16 / 1e-15  # A^2/fs in cm^2/s
    found = [coefficient(brownian(rng, (2, 300, 3), per_step), hop_length=1.5) for _ in range(100)]
    values = np.array([one.value for one in found])
    hits = sum(abs(one.value - true) <= one.uncertainty for one in found)
    print(hits, values.mean() / true)
    assert 90 <= hits <= 99
    assert values.mean() == pytest.approx(true, rel=0.05)
    assert not any(one.upper_bound for one in found)


def test_the_length_of_the_chain_matters_little():
    paths = brownian(np.random.default_rng(4), (2, 300, 4), 0.02)
    short, usual, long = (coefficient(paths, hop_length=1.5, chain=chain) for chain in (150, 1000, 4000))
    assert short.value == pytest.approx(long.value, abs=0.1 * long.uncertainty)
    assert short.uncertainty == pytest.approx(long.uncertainty, rel=0.15)
    assert usual.value == pytest.approx(long.value, abs=0.05 * long.uncertainty)
    assert usual.uncertainty == pytest.approx(long.uncertainty, rel=0.08)


def test_the_same_trajectory_gives_the_same_number_and_the_random_state_is_left(capfd, recwarn):
    paths = brownian(np.random.default_rng(5), (1, 300, 8), 0.02)
    np.random.seed(1)
    first = coefficient(paths, hop_length=1.5)
    here = np.random.random()
    np.random.seed(2)
    assert coefficient(paths, hop_length=1.5) == first
    np.random.seed(1)
    assert np.random.random() == here
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_hops_are_measured_and_the_fit_is_the_line_that_was_found():
    rate, length = 0.01, 2.0
    found = coefficient(hoppers(np.random.default_rng(6), (2, 600, 20), rate, length), hop_length=length, chain=500)
    assert not found.upper_bound
    assert abs(found.value - length**2 * rate / 6 / INTERVAL_FS * 0.1) <= found.uncertainty
    assert found.fit is not None
    assert found.fit.slope / 6 * 0.1 == pytest.approx(found.value)
    assert found.fit.start_fs >= 1000
    assert found.fit.end_fs <= 300 * INTERVAL_FS
    assert found.reason == "the mean squared displacement grows linearly from 1 to 74.8 ps"
    assert 60 < found.samples < 600  # of some 240 hops


def test_a_crystal_that_does_not_hop_gives_the_rule_of_three():
    found = coefficient(np.zeros((2, 400, 5, 3)), hop_length=3.0)
    longest_fs = 199 * INTERVAL_FS
    assert found.upper_bound
    assert found.value == pytest.approx(9 * 2.9957 / (6 * 10 * longest_fs) * 0.1, rel=1e-4)
    assert found.uncertainty == found.value
    assert found.fit is None
    assert found.reason == (
        "the mean squared displacement reaches 0 A^2 in 49.8 ps, less than half the squared hop length (4.5 A^2): "
        "an upper bound only"
    )


@pytest.mark.parametrize("rate", [1e-4, 4e-4, 1e-3])
def test_upper_bounds_hold(rate):
    rng = np.random.default_rng(7)
    found = [coefficient(hoppers(rng, (1, 400, 6), rate, 3.0), hop_length=3.0) for _ in range(200)]
    true = 9 * rate / 6 / INTERVAL_FS * 0.1
    assert all(one.upper_bound for one in found if one.value < true)
    bounds = [one.value for one in found if one.upper_bound]
    print(len(bounds), np.mean(np.array(bounds) >= true))
    assert np.mean(np.array(bounds) >= true) >= 0.95


def test_what_is_not_diffusive_is_unresolved():
    rng = np.random.default_rng(8)
    flight = rng.normal(size=(1, 1, 20, 3)) * np.arange(200)[:, None, None]
    with pytest.raises(Unresolved, match=r"grows with the power 2.00 of time after 1 ps: it is not diffusive yet"):
        coefficient(flight, hop_length=1.0)
    with pytest.raises(Unresolved, match="2 lags between 1 ps"):
        coefficient(brownian(rng, (1, 11, 40), 1.0), hop_length=1.0)
    with pytest.raises(Unresolved, match="independent samples, at least 10"):
        coefficient(np.cumsum(np.full((1, 100, 1, 3), 0.03), axis=1), hop_length=3.0)
    with pytest.raises(Unresolved, match="2 samples, at least 3"):
        coefficient(np.zeros((1, 2, 1, 3)), hop_length=3.0)


def test_agrees_with_the_coefficient_of_ase():
    """ASE fits a line to the displacement from the first frame, of many walkers at once."""
    paths = brownian(np.random.default_rng(12), (1, 200, 300), 0.02)
    theirs = DiffusionCoefficient([Atoms("H300", frame) for frame in paths[0]], INTERVAL_FS * units.fs)
    slopes, _ = theirs.get_diffusion_coefficients()
    ours = coefficient(paths, hop_length=1.5)
    assert ours.value == pytest.approx(slopes[0] * units.fs * 1e-16 / 1e-15, rel=0.15)  # A^2/ASE time in cm^2/s
