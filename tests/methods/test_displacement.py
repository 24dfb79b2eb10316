"""Mean squared displacements against direct sums and free flight."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units

from mlff_probes.methods.analysis.displacement import mean_squared_displacement
from mlff_probes.methods.analysis.statistics import Unresolved

HOST = 1e12
"""Mass of an atom heavy enough to be the centre of mass."""


def with_host(paths):
    """Paths of walkers of mass 1 after one heavy atom at rest: positions, masses."""
    replicas, samples, atoms, _ = paths.shape
    return np.concatenate([np.zeros((replicas, samples, 1, 3)), paths], axis=2), np.array([HOST, *[1.0] * atoms])


def test_displacements_agree_with_direct_sums():
    rng = np.random.default_rng(1)
    positions, masses = rng.normal(size=(2, 9, 5, 3)), rng.uniform(1, 9, size=5)
    found = mean_squared_displacement(positions, masses, [1, 3], np.arange(9) * 10.0)
    np.testing.assert_array_equal(found.lag_fs, [10, 20, 30, 40])
    centred = positions - np.einsum("rsax,a->rsx", positions, masses)[:, :, None] / masses.sum()
    for lag, msd in zip((1, 2, 3, 4), found.msd, strict=True):
        squares = [
            ((centred[r, t + lag, a] - centred[r, t, a]) ** 2).sum()
            for r in range(2)
            for t in range(9 - lag)
            for a in (1, 3)
        ]
        assert msd == pytest.approx(np.mean(squares))
    np.testing.assert_allclose(found.samples, [32, 16, 32 / 3, 8])
    assert found.walkers == 4


def test_lags_are_thinned_evenly_up_to_half_the_trajectory():
    positions, masses = with_host(np.zeros((1, 1001, 1, 3)))
    found = mean_squared_displacement(positions, masses, [1], np.arange(1001.0))
    assert len(found.lag_fs) == 100
    assert (found.lag_fs[0], found.lag_fs[-1]) == (1, 500)


def test_a_gas_in_free_flight_obeys_equipartition():
    temperature, mass, atoms = 600.0, 52.0, 4000
    rng = np.random.default_rng(2)
    velocities = rng.normal(size=(atoms, 3)) * np.sqrt(units.kB * temperature / mass) * units.fs  # A/fs
    time = np.arange(40.0)
    positions, masses = with_host(velocities * time[None, :, None, None])
    found = mean_squared_displacement(positions, mass * masses, np.arange(atoms + 1) > 0, time)
    np.testing.assert_allclose(found.msd, (velocities**2).sum(axis=1).mean() * found.lag_fs**2, rtol=1e-10)
    expected = 3 * units.kB * temperature / mass * (found.lag_fs * units.fs) ** 2
    np.testing.assert_allclose(found.msd, expected, rtol=0.05)


def test_a_drift_of_the_whole_is_no_displacement():
    positions = np.zeros((1, 20, 3, 3)) + np.arange(20.0)[:, None, None]
    found = mean_squared_displacement(positions, [1.0, 2.0, 3.0], [0], np.arange(20.0))
    np.testing.assert_allclose(found.msd, 0, atol=1e-20)


def test_what_makes_no_displacement_is_refused():
    positions, masses = np.zeros((1, 5, 2, 3)), np.ones(2)
    with pytest.raises(ValueError, match="mask is empty"):
        mean_squared_displacement(positions, masses, [False, False], np.arange(5.0))
    with pytest.raises(ValueError, match="equal intervals"):
        mean_squared_displacement(positions, masses, [0], [0, 1, 2, 4, 5])
    with pytest.raises(ValueError, match="do not fit 4 times and 2 masses"):
        mean_squared_displacement(positions, masses, [0], np.arange(4.0))
    with pytest.raises(Unresolved, match="2 samples, at least 3"):
        mean_squared_displacement(positions[:, :2], masses, [0], np.arange(2.0))
