"""Distances of curves whose distance is plain."""

from __future__ import annotations

import numpy as np
import pytest

from mlff_probes.methods.analysis.distances import common_grid, l1_distance, wasserstein

X = np.linspace(0, 10, 201)


def peak(centre, height=1.0):
    return height * np.exp(-((X - centre) ** 2) / 0.5)


def test_equal_curves_have_no_distance():
    assert l1_distance(X, peak(4), peak(4)) == 0
    assert wasserstein(X, peak(4), peak(4)) == 0


def test_l1_is_a_share_of_the_reference_area():
    assert l1_distance(X, peak(4, 1.3), peak(4)) == pytest.approx(0.3)
    assert l1_distance(X, peak(2), peak(8)) == pytest.approx(2)
    assert l1_distance(X, 0 * X, peak(4)) == pytest.approx(1)
    assert l1_distance([0, 1, 4], [1, 1, 1], [1, 1, 2]) == pytest.approx(1.5 / 5.5)  # trapezoids of unequal width


def test_wasserstein_is_how_far_the_weight_moved_whatever_its_amount():
    assert wasserstein(X, peak(4.7, 3.0), peak(4)) == pytest.approx(0.7, abs=1e-3)
    assert wasserstein(X, peak(2) + peak(6), peak(2) + peak(8)) == pytest.approx(1, abs=1e-3)
    assert wasserstein(10 * X, peak(4.7), peak(4)) == pytest.approx(7, abs=1e-2)


def test_wasserstein_weighs_points_by_the_grid_between_them():
    uneven = np.sort(np.concatenate([X, X[100:150] + 0.01]))
    even = wasserstein(X, peak(4.7), peak(4))
    curves = (np.interp(uneven, X, peak(centre)) for centre in (4.7, 4))
    assert wasserstein(uneven, *curves) == pytest.approx(even, abs=5e-3)


def test_values_below_zero_count_as_zero_in_a_distribution():
    assert wasserstein(X, peak(4) - 1e-3, np.clip(peak(4) - 1e-3, 0, None)) == 0


@pytest.mark.parametrize("zero_beyond", [False, True])
def test_both_curves_come_onto_the_points_of_both(zero_beyond):
    x, y, reference = common_grid(X, peak(4), [1.0, 5.01, 20.0], [0.0, 4.01, 4.01], zero_beyond=zero_beyond)
    assert (x[0], x[-1]) == (0.0, 20.0 if zero_beyond else 10.0)
    np.testing.assert_array_equal(x, np.sort([*X, 5.01, *[20.0] * zero_beyond]))
    np.testing.assert_allclose(reference, np.clip(x - 1, 0, 4.01))
    np.testing.assert_allclose(y, np.interp(x, X, peak(4), right=0))
    assert y[x == 5.01] == pytest.approx(0.8 * peak(4)[100] + 0.2 * peak(4)[101])


def test_equal_curves_on_grids_of_their_own_are_equal():
    fine = np.linspace(0, 10, 2001)
    curves = (X, peak(4), fine, np.exp(-((fine - 4) ** 2) / 0.5))
    for zero_beyond in (False, True):
        assert l1_distance(*common_grid(*curves, zero_beyond=zero_beyond)) < 2e-3
        assert wasserstein(*common_grid(*curves, zero_beyond=zero_beyond)) < 2e-3
    x, y, reference = common_grid(X, peak(4), X, peak(5), zero_beyond=True)
    np.testing.assert_array_equal([x, y, reference], [X, peak(4), peak(5)])


def test_weight_of_a_spectrum_beyond_the_reference_counts():
    """Half of the weight at 12 THz, where the reference ends at 6: that half is carried 9 THz, or it ends at 4."""
    frequency = np.linspace(0, 15, 1501)
    line = np.exp(-((frequency - 3) ** 2) / 0.02)
    model = line + np.exp(-((frequency - 12) ** 2) / 0.02)
    short = frequency <= 6
    moved = wasserstein(*common_grid(frequency, model, frequency[short], line[short], zero_beyond=True))
    assert moved == pytest.approx(4.5, abs=0.01)
    moved = wasserstein(*common_grid(frequency[short], line[short], frequency, model, zero_beyond=True))
    assert moved == pytest.approx(4.5, abs=0.01)
    from_two = (frequency > 2) & short
    moved = wasserstein(*common_grid(frequency, line[::-1], frequency[from_two], line[from_two], zero_beyond=True))
    assert moved == pytest.approx(9, abs=0.01)


def test_a_shell_before_the_reference_counts_and_what_is_after_it_does_not():
    r = np.arange(0.025, 8, 0.05)
    g = 2 * np.exp(-((r - 3) ** 2) / 0.02) + (r > 4)
    extra = g + np.exp(-((r - 1.9) ** 2) / 0.02)
    tabulated = (r > 2.5) & (r < 6)
    x, model, reference = common_grid(r, extra, r[tabulated], g[tabulated], zero_beyond=False)
    assert (x[0], x[-1]) == (r[0], r[tabulated][-1])
    area = g[tabulated].sum()
    assert l1_distance(x, model, reference) == pytest.approx((extra - g).sum() / area, rel=0.02)
    altered = np.where(r > 6, 5.0, g)
    assert l1_distance(*common_grid(r, altered, r[tabulated], g[tabulated], zero_beyond=False)) < 1e-6
    assert l1_distance(*common_grid(r[tabulated], g[tabulated], r, altered, zero_beyond=False)) < 1e-6


@pytest.mark.parametrize("distance", [l1_distance, wasserstein])
def test_curves_that_are_none_are_refused(distance):
    with pytest.raises(ValueError, match=r"zero everywhere|no positive value"):
        distance(X, peak(4), 0 * X)
    with pytest.raises(ValueError, match="one grid of at least two points"):
        distance([], [], [])
    with pytest.raises(ValueError, match="one grid"):
        distance(X, peak(4), peak(4)[1:])
    with pytest.raises(ValueError, match="rise strictly"):
        distance(X[::-1], peak(4), peak(4))
    with pytest.raises(ValueError, match="not finite"):
        distance(X, np.full_like(X, np.nan), peak(4))


def test_a_curve_without_positive_values_is_no_distribution():
    with pytest.raises(ValueError, match="the curve has no positive value"):
        wasserstein(X, -peak(4), peak(4))


@pytest.mark.parametrize("zero_beyond", [False, True])
def test_ranges_that_do_not_meet_are_refused(zero_beyond):
    with pytest.raises(ValueError, match="the reference runs from 11 to 12 and the curve from 0 to 10: they do not"):
        common_grid(X, peak(4), [11, 12], [1, 1], zero_beyond=zero_beyond)
    with pytest.raises(ValueError, match="they do not overlap"):
        common_grid([11, 12], [1, 1], X, peak(4), zero_beyond=zero_beyond)
