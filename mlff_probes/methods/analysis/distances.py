"""How far apart two curves are: in area, and in how far their weight has to be carried."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid

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
    from scipy.stats import wasserstein_distance  # a fifth of a second to import

    grid, curve, reference = _checked(x, y, y_reference)
    widths = np.gradient(grid)
    widths[[0, -1]] /= 2  # the rule of trapezoids
    weights = [np.clip(values, 0, None) * widths for values in (curve, reference)]
    for name, weight in zip(("curve", "reference curve"), weights, strict=True):
        if not weight.sum() > 0:
            raise ValueError(f"the {name} has no positive value: it is no distribution")
    return float(wasserstein_distance(grid, grid, *weights))


def common_grid(
    x: ArrayLike, y: ArrayLike, reference_x: ArrayLike, reference_y: ArrayLike, *, zero_beyond: bool
) -> tuple[Floats, Floats, Floats]:
    """Both curves on the points of both grids: (x, y, y_reference), so that no weight of either is overlooked.

    Between its points a curve is interpolated linearly, so neither grid should be coarse; before its first point it
    is zero, as a spectrum is below its lowest frequency and g(r) below the distances that anyone tabulates.

    Parameters
    ----------
    x, y, reference_x, reference_y
        Two curves, each on a strictly rising grid of its own.
    zero_beyond
        Whether a curve is zero after its last point too, as a spectrum is. Otherwise, as for g(r), nothing is known
        there, and both are compared up to the end of the one that ends first.

    Raises
    ------
    ValueError
        Where the ranges do not overlap, or either is not a curve on a rising grid.
    """
    grid, curve, _ = _checked(x, y, y)
    other, reference, _ = _checked(reference_x, reference_y, reference_y)
    end = min(grid[-1], other[-1])
    if end <= max(grid[0], other[0]):
        raise ValueError(
            f"the reference runs from {other[0]:g} to {other[-1]:g} and the curve from {grid[0]:g} to {grid[-1]:g}: "
            "they do not overlap"
        )
    both = np.union1d(grid, other)
    if not zero_beyond:
        both = both[both <= end]
    return both, np.interp(both, grid, curve, 0, 0), np.interp(both, other, reference, 0, 0)


def _checked(*arrays: ArrayLike) -> tuple[Floats, Floats, Floats]:
    x, y, reference = (np.asarray(array, dtype=float) for array in arrays)
    if x.ndim != 1 or len(x) < 2 or not x.shape == y.shape == reference.shape:
        raise ValueError(f"curves need one grid of at least two points, found {x.shape}, {y.shape}, {reference.shape}")
    if not all(np.isfinite(values).all() for values in (x, y, reference)):
        raise ValueError("a curve holds values that are not finite")
    if not (np.diff(x) > 0).all():
        raise ValueError("the grid of a curve must rise strictly")
    return x, y, reference
