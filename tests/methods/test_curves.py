"""Interpolants against functions whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from mlff_probes.methods.analysis.curves import (
    NotBracketedError,
    OpenInterpolant,
    PeriodicInterpolant,
    energy_noise,
    spline_minimum,
)


@pytest.mark.parametrize("n", [6, 9, 12])
def test_interpolant_is_exact_for_resolved_harmonics(n):
    def curve(u):
        return 0.3 - 0.2 * np.cos(2 * np.pi * u) + 0.05 * np.sin(4 * np.pi * u)

    def slope(u):
        return 0.4 * np.pi * np.sin(2 * np.pi * u) + 0.2 * np.pi * np.cos(4 * np.pi * u)

    interpolant = PeriodicInterpolant.through(curve(np.arange(n) / n))
    u = np.linspace(-1, 2, 301)
    np.testing.assert_allclose(interpolant(u), curve(u), atol=1e-13)
    np.testing.assert_allclose(interpolant(u, derivative=1), slope(u), atol=1e-12)


def test_interpolant_passes_through_any_samples():
    samples = np.random.default_rng(1).normal(size=12)
    np.testing.assert_allclose(PeriodicInterpolant.through(samples)(np.arange(12) / 12), samples, atol=1e-13)


def test_maximum_between_samples_and_at_an_edge():
    interpolant = PeriodicInterpolant.through(-np.cos(2 * np.pi * (np.arange(12) / 12 - 0.29)))
    u, value = interpolant.maximum()
    assert (u, value) == (pytest.approx(0.79, abs=1e-9), pytest.approx(1.0, abs=1e-12))
    u, value = interpolant.maximum(0.3, 0.6)
    assert u == 0.6  # still rising there: the closed end is the maximum
    assert value == pytest.approx(-np.cos(2 * np.pi * 0.31))


def test_steepest_slope_has_no_sign():
    samples = np.sin(2 * np.pi * np.arange(12) / 12)
    for sign in (1, -1):
        assert PeriodicInterpolant.through(sign * samples).steepest() == pytest.approx(2 * np.pi, abs=1e-9)


def test_flat_curve():
    flat = PeriodicInterpolant.through(np.zeros(12))
    assert flat.maximum(2 / 3, 1.0)[1] == 0.0
    assert flat.steepest() == 0.0


def test_spline_minimum_of_a_cubic_is_exact():
    x = np.array([0.0, 0.3, 0.7, 1.0, 1.6, 2.0])
    y = x**3 - 3 * x  # minimum at 1, value -2; a not-a-knot spline reproduces a cubic
    assert spline_minimum(x, y, noise=0.0) == (pytest.approx(1.0, abs=1e-12), pytest.approx(-2.0, abs=1e-12))
    off_grid = np.array([0.0, 0.3, 0.8, 1.3, 1.6, 2.0])
    assert spline_minimum(off_grid, off_grid**3 - 3 * off_grid, noise=0.0)[0] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("sign", "edge"), [(1, "first"), (-1, "last")])
def test_minimum_on_an_edge_is_refused(sign, edge):
    with pytest.raises(NotBracketedError, match=edge):
        spline_minimum([0.0, 1.0, 2.0, 3.0], [0.0, sign * 1.0, sign * 2.0, sign * 3.0], noise=0.0)


def cut_off(gaps, rng=None):
    """The tail of a well whose model sees nothing beyond 4.3 A: exactly flat from there on, but for rounding."""
    energies = -310.0 + 0.4 * np.maximum(4.3 - gaps, 0.0) ** 2
    return energies if rng is None else energies.astype(np.float32) + 3e-5 * rng.integers(-1, 2, len(gaps))


@pytest.mark.parametrize("rounded", [False, True])
def test_a_curve_that_falls_to_its_end_and_is_flat_from_there_has_no_minimum(rounded):
    gaps = np.array([2.6, 3.0, 3.4, 3.8, 4.1, 4.4, 5.0, 6.3, 8.8])
    for seed in range(10):
        energies = cut_off(gaps, np.random.default_rng(seed) if rounded else None)
        with pytest.raises(NotBracketedError, match=r"none after it that is higher|is the last"):
            spline_minimum(gaps, energies, noise=energy_noise(energies))


def test_a_shallow_minimum_that_rounding_does_not_explain_is_one():
    gaps = np.linspace(2.5, 5.0, 11)
    energies = -310.0 + 0.001 * (gaps - 3.6) ** 2
    assert spline_minimum(gaps, energies, noise=energy_noise(energies))[0] == pytest.approx(3.6, abs=1e-6)


GAPS = np.array([2.2, 2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6, 3.8, 4.1, 4.4, 5.0, 6.3, 8.8])


@pytest.mark.parametrize("stiffness", [1.0, 3.0])
def test_a_well_that_the_samples_resolve(stiffness):
    decay = np.exp(-stiffness * (GAPS - 3.27))
    where, depth = spline_minimum(GAPS, 0.06 * (decay**2 - 2 * decay), noise=1e-5)
    assert (where, depth) == (pytest.approx(3.27, abs=0.02), pytest.approx(-0.06, abs=0.003))


@pytest.mark.parametrize("exponent", [12, 24])
def test_a_spline_that_swings_below_its_samples_is_no_minimum(exponent):
    """Of a wall so steep the spline falls far below all samples between two of them."""
    ratio = (3.27 / GAPS) ** exponent
    with pytest.raises(NotBracketedError, match=r"swings .* eV below the lowest of them"):
        spline_minimum(GAPS, 0.034 * (ratio**2 - 2 * ratio), noise=1e-5)


def test_a_step_far_out_makes_no_minimum_of_a_flat_curve():
    flat = np.maximum(0.5 * (1 - (GAPS - 2.0) / 2.35), 0.0)
    with pytest.raises(NotBracketedError):
        spline_minimum(GAPS, flat + 1e-4 * (GAPS > 6.0), noise=3e-5)


def test_a_curve_that_does_not_close_is_exact_for_a_cubic():
    u = np.linspace(0, 1, 7)
    curve = OpenInterpolant.through(u - 3 * u**2 + u**3)
    dense = np.linspace(0, 1, 101)
    np.testing.assert_allclose(curve(dense), dense - 3 * dense**2 + dense**3, atol=1e-13)
    top = 1 - np.sqrt(2 / 3)  # where 1 - 6 u + 3 u^2 = 0
    assert curve.maximum() == pytest.approx((top, top - 3 * top**2 + top**3))
    assert curve.maximum(0.5, 1.0) == pytest.approx((0.5, 0.5 - 0.75 + 0.125))
    assert curve.steepest() == pytest.approx(2.0)  # at u = 1
