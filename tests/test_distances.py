"""Distances of curves whose distance is plain."""

from __future__ import annotations

import numpy as np
import pytest

from mlff_probes.analysis.distances import common_grid, l1_distance, wasserstein

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


def test_a_reference_is_brought_onto_the_points_it_covers():
    x, y, reference = common_grid(X, peak(4), [1.0, 5.0, 20.0], [0.0, 4.0, 4.0])
    assert (x[0], x[-1]) == (1.0, 10.0)
    np.testing.assert_allclose(reference, np.minimum(x - 1, 4))
    np.testing.assert_allclose(y, peak(4)[X >= 1])


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


def test_ranges_that_do_not_meet_are_refused():
    with pytest.raises(ValueError, match="the reference runs from 11 to 12 and the curve from 0 to 10"):
        common_grid(X, peak(4), [11, 12], [1, 1])
