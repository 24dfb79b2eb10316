"""Radial distribution functions, and their first peak."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.polynomial import Polynomial
from numpy.polynomial.polynomial import polyval, polyvander
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import least_squares

from mlff_probes.methods.analysis.statistics import MINIMUM_SAMPLES, Estimate, Unresolved, jackknife
from mlff_probes.methods.neighbours import neighbours

Floats = NDArray[np.float64]
Indices = NDArray[np.int_]
Which = NDArray[np.bool_]

SMOOTHING = 0.1
"""Standard deviation of the Gaussian that a peak is looked for through, A: half of a shell's thermal width, so that
it takes away the noise of single pairs but merges no shells."""

PROMINENCE = 0.25
"""Least prominence of the first peak (its height above the higher of the valleys beside it), as a share of the highest
value of all.

Shoulders and single pairs are less prominent. A shell of two neighbours before one of six, as of a metal atom between
layers that are full of it, still reaches half.
"""

FITTED_SHARE = 0.5
"""The apex is fitted where the smoothed curve is above this share of its peak: the half that decides."""

FEWEST_BINS = 6
"""Fewest bins of the fit of four parameters."""

REAL = 1e-9
"""Imaginary part up to which a root is real."""


def largest_r(cells: ArrayLike) -> float:
    """Half the smallest distance of two opposite faces of any of these cells, A: within it, no atom has two images.

    Cells have the shape (…, 3, 3); rows are the cell vectors.
    """
    return float(_widths(np.asarray(cells, dtype=float)).min() / 2)


def radial_distribution(
    positions: ArrayLike,
    cells: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    r_max: float,
    bin_width: float,
    blocks: int = 1,
) -> tuple[Floats, Floats]:
    """Radial distribution function g(r) of `second` atoms about `first` ones, in a periodic cell.

    g(r) = V p(r) / (P 4 pi r^2 dr), p(r) the number of pairs in the shell and P that of all pairs of a first and
    another, second atom: N_first N_second, less the atoms that are both. Neither an atom itself nor its own periodic
    images make a pair, for their distances are those of the cell, not of the material; those of all others do. An
    ideal gas of any number of atoms thus has g = 1 at all distances. The shell's volume is exact.

    Parameters
    ----------
    positions
        A, wrapped or not, shape (n_replicas, n_samples, n_atoms, 3).
    cells
        A, shape (n_replicas, n_samples, 3, 3), rows are the cell vectors, of either handedness.
    first, second
        Booleans of shape (n_atoms,) or indices; both may hold the same atoms.
    r_max
        A; beyond `largest_r` the cell is repeated. Cut to a multiple of the bin's width.
    bin_width
        A.
    blocks
        Stretches of equal length (by at most one sample) that each replica is cut into.

    Returns
    -------
    tuple
        Centres of the bins, A, shape (n_bins,), and g by block, shape (n_replicas * blocks, n_bins).

    Raises
    ------
    Unresolved
        Where both sets are one and the same atom.
    ValueError
        Where shapes do not fit, a set of atoms or a block is empty, or there is no bin.
    """
    everything, boxes = np.asarray(positions, dtype=float), np.asarray(cells, dtype=float)
    if everything.ndim != 4 or boxes.shape != (*everything.shape[:2], 3, 3):
        raise ValueError(f"positions {everything.shape} and cells {boxes.shape} do not fit")
    ones, others = (_indices(each, everything.shape[2]) for each in (first, second))
    atoms = np.union1d(ones, others)
    pair = (np.isin(atoms, ones), np.isin(atoms, others))
    if _pairs(*pair) == 0:
        raise Unresolved("there is only one such atom in the cell")
    bins = int(r_max / bin_width + 1e-9)  # a multiple may lie just below itself
    if bins < 1 or not 1 <= blocks <= everything.shape[1]:
        raise ValueError(f"{bins} bins and {blocks} blocks of {everything.shape[1]} samples: at least one of each")
    edges = np.linspace(0, bins * bin_width, bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    found = []
    for replica, box in zip(everything[:, :, atoms], boxes, strict=True):
        for part in np.array_split(np.arange(len(replica)), blocks):
            samples = [_shares(replica[i], box[i], pair, edges) for i in part]
            found.append(np.mean(samples, axis=0) / shells)
    return (edges[:-1] + edges[1:]) / 2, np.array(found)


def first_peak(
    r: ArrayLike, g_blocks: ArrayLike, *, replicas: int = 1, fewest: int = MINIMUM_SAMPLES
) -> tuple[Estimate, Estimate]:
    """Position (A) and height of the first peak of g(r).

    The peak is the first maximum of the smoothed mean of the blocks that rises by `PROMINENCE` of the highest value;
    its apex is that of a skewed Gaussian, exp(cubic in r), fitted to the values themselves about it, so that neither
    the smoothing nor the bins move it, nor the long tail of a liquid's shell. Intervals are from leaving out one block
    at a time. What single blocks add to the apex is mostly noise, under which it would not be seen that a shell moves
    slowly; so their mean distance of the pairs of the shell counts as a witness.

    Parameters
    ----------
    r
        A, at equal intervals, shape (n_bins,).
    g_blocks
        Shape (n_blocks, n_bins), replica by replica, in order of time in each; better 48 short ones than 12 long.
    replicas
        How many there are, each of as many blocks.
    fewest
        Fewest independent blocks.

    Raises
    ------
    Unresolved
        Where there is no peak, the fit finds no apex within it, or there are fewer independent blocks than `fewest`.
    """
    grid, blocks = np.asarray(r, dtype=float), np.asarray(g_blocks, dtype=float)
    around, _ = _peak_bins(grid, blocks.mean(axis=0))
    distance = shell_distance(grid, blocks)

    @cache
    def fit(g: bytes) -> tuple[float, float]:
        return _skewed_fit(grid[around], np.frombuffer(g))

    def apex(part: int) -> Estimate:
        return jackknife(
            lambda g: fit(g[around].tobytes())[part], blocks, replicas=replicas, witnesses=[distance], fewest=fewest
        )

    return apex(0), apex(1)


def shell_distance(r: ArrayLike, g_blocks: ArrayLike) -> Floats:
    """How far the pairs of the first shell are off their mean distance, summed by block, shape (n_blocks,).

    In arbitrary units: a witness for `jackknife` of how slowly the shell moves. Arguments as for `first_peak`.

    Raises
    ------
    Unresolved
        Where there is no peak.
    """
    grid, blocks = np.asarray(r, dtype=float), np.asarray(g_blocks, dtype=float)
    _, shell = _peak_bins(grid, blocks.mean(axis=0))
    pairs = grid[shell] ** 2 * blocks[:, shell]
    found: Floats = pairs @ (grid[shell] - np.average(grid[shell], weights=pairs.sum(axis=0)))
    return found


def _widths(cells: Floats) -> Floats:
    """Distances of opposite faces: the inverse lengths of the reciprocal vectors."""
    found: Floats = 1 / np.linalg.norm(np.linalg.inv(cells), axis=-2)
    return found


def _indices(which: ArrayLike, count: int) -> Indices:
    found: Indices = np.arange(count)[np.asarray(which)]
    if not len(found):
        raise ValueError("a radial distribution function needs atoms: one of the sets is empty")
    return found


def _pairs(ones: Which, others: Which) -> int:
    """Pairs of one of these and another one of those."""
    return int(ones.sum() * others.sum() - (ones & others).sum())


def _shares(positions: Floats, cell: Floats, pair: tuple[Which, Which], edges: Floats) -> Floats:
    """Share of the pairs in each bin, times the cell's volume: A^3, shape (n_bins,)."""
    ones, others = pair
    near = neighbours(positions, cell, (True, True, True), edges[-1])
    counted = ones[near.first] & others[near.second] & (near.first != near.second)
    counts = np.histogram(near.distances[counted], len(edges) - 1, (edges[0], edges[-1]))[0]
    found: Floats = counts * abs(np.linalg.det(cell)) / _pairs(ones, others)
    return found


def _peak_bins(r: Floats, g: Floats) -> tuple[slice, slice]:
    """The bins about the first peak, at least `FEWEST_BINS`, and those of its shell: to the lowest before the next."""
    from scipy.signal import find_peaks  # which brings scipy.stats along, in a fifth of a second

    if len(r) < FEWEST_BINS:
        raise Unresolved(f"a peak of g(r) needs at least {FEWEST_BINS} bins, there are {len(r)}")
    smooth = gaussian_filter1d(g, SMOOTHING / (r[1] - r[0]), mode="nearest")
    if not smooth.max() > 0:
        raise Unresolved(f"no pair of atoms closer than {r[-1]:.3g} A: no peak")
    peaks, _ = find_peaks(smooth, prominence=PROMINENCE * smooth.max())
    if not len(peaks):
        raise Unresolved(f"g(r) has no peak before {r[-1]:.3g} A")
    low = np.flatnonzero(smooth < FITTED_SHARE * smooth[peaks[0]])
    before, after = low[low < peaks[0]], low[low > peaks[0]]
    start = before[-1] + 1 if len(before) else 0
    stop = after[0] if len(after) else len(r)
    missing = max(0, FEWEST_BINS - (stop - start))
    start = min(max(0, start - (missing + 1) // 2), len(r) - FEWEST_BINS)
    stop = max(stop + (missing + 1) // 2, start + FEWEST_BINS)
    following = peaks[1] if len(peaks) > 1 else len(r)
    valley = peaks[0] + int(smooth[peaks[0] : following].argmin())
    return slice(start, stop), slice(0, max(valley, stop))


def _skewed_fit(r: Floats, g: Floats) -> tuple[float, float]:
    """Position and height of the apex of exp(cubic in r) through these values by least squares."""
    bin_width, total, span = r[1] - r[0], float(g.sum()), float(r[-1] - r[0])
    centre = float((r * g).sum()) / total if total > 0 else float(r.mean())
    x = (r - centre) / span
    start = (np.log(max(float(g.max()), np.finfo(float).tiny)), 0.0, -9 / 2, 0.0)  # a width of a third of the range

    def curve(p: Floats) -> Floats:
        return np.exp(np.clip(polyval(x, p), -50, 50))

    powers = polyvander(x, len(start) - 1)
    found = least_squares(lambda p: curve(p) - g, start, lambda p: curve(p)[:, None] * powers, method="lm")
    cubic = Polynomial(found.x)
    slope, curvature = cubic.deriv(), cubic.deriv(2)
    tops = [float(root.real) for root in slope.roots() if abs(root.imag) < REAL and curvature(root.real) < 0]
    if not found.success or not tops or not x[0] <= tops[0] <= x[-1]:
        raise Unresolved(f"the first peak of g(r), near {centre:.3g} A, has no apex within its upper half")
    # Averages over bins are lower and wider than the curve, by a twelfth of the bin's square (Sheppard's correction).
    square = -(span**2) / float(curvature(tops[0]))
    sharper = max(square - bin_width**2 / 12, square / 2)
    return centre + span * tops[0], float(np.exp(cubic(tops[0]))) * float(np.sqrt(square / sharper))
