"""How far apart two curves are: in area, and in how far their weight has to be carried."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid
from scipy.stats import wasserstein_distance

Floats = NDArray[np.float64]


def l1_distance(x: ArrayLike, y: ArrayLike, y_reference: ArrayLike) -> float:
    """Integral of |y - y_reference| over that of |y_reference|, by trapezoids: dimensionless, 0 for equal curves.

    Parameters
    ----------
    x
        Shape (n,), strictly rising.
    y, y_reference
        Both curves on that grid, shape (n,).

    Raises
    ------
    ValueError
        Where the shapes differ, a value is not finite, or the reference is zero everywhere.
    """
    grid, curve, reference = _checked(x, y, y_reference)
    area = float(trapezoid(np.abs(reference), grid))
    if area == 0:
        raise ValueError("the reference curve is zero everywhere: no distance relative to it")
    return float(trapezoid(np.abs(curve - reference), grid) / area)


def wasserstein(x: ArrayLike, y: ArrayLike, y_reference: ArrayLike) -> float:
    """First Wasserstein distance of two curves taken as distributions of area 1, in units of x.

    How far, on average, the weight of one curve has to be carried to make the other: a peak moved by d gives d. For
    a radial distribution function weight both curves by the square of the distance first, so that each counts
    neighbours.

    Parameters
    ----------
    x, y, y_reference
        As for `l1_distance`. Values below zero count as zero.

    Raises
    ------
    ValueError
        As for `l1_distance`, and where either curve has no positive value.
    """
    grid, curve, reference = _checked(x, y, y_reference)
    widths = np.gradient(grid)
    widths[[0, -1]] /= 2  # the rule of trapezoids
    weights = [np.clip(values, 0, None) * widths for values in (curve, reference)]
    for name, weight in zip(("curve", "reference curve"), weights, strict=True):
        if not weight.sum() > 0:
            raise ValueError(f"the {name} has no positive value: it is no distribution")
    return float(wasserstein_distance(grid, grid, *weights))


def common_grid(
    x: ArrayLike, y: ArrayLike, reference_x: ArrayLike, reference_y: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Both curves on those points of x that the reference covers: (x, y, y_reference).

    The reference is interpolated linearly, so its grid should not be much coarser than x.

    Raises
    ------
    ValueError
        Where fewer than two points of x lie within the reference's range, or it is not a curve on a rising grid.
    """
    grid, curve, _ = _checked(x, y, y)
    other, reference, _ = _checked(reference_x, reference_y, reference_y)
    inside = (grid >= other[0]) & (grid <= other[-1])
    if inside.sum() < 2:
        raise ValueError(
            f"the reference runs from {other[0]:g} to {other[-1]:g} and the curve from {grid[0]:g} to {grid[-1]:g}: "
            "fewer than two points in common"
        )
    return grid[inside], curve[inside], np.interp(grid[inside], other, reference)


def _checked(*arrays: ArrayLike) -> tuple[Floats, Floats, Floats]:
    x, y, reference = (np.asarray(array, dtype=float) for array in arrays)
    if x.ndim != 1 or len(x) < 2 or not x.shape == y.shape == reference.shape:
        raise ValueError(f"curves need one grid of at least two points, found {x.shape}, {y.shape}, {reference.shape}")
    if not all(np.isfinite(values).all() for values in (x, y, reference)):
        raise ValueError("a curve holds values that are not finite")
    if not (np.diff(x) > 0).all():
        raise ValueError("the grid of a curve must rise strictly")
    return x, y, reference
