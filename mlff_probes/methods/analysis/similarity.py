"""How alike two representations of the same samples are, and whether they can be told apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESAMPLED = 200
"""Half-samples from which an interval is had: its ends are then known to some 5 % of its width."""

FEWEST = 8
"""Fewest groups of samples: of fewer, halves say little."""

SILHOUETTE_SAMPLES = 2000
"""Samples of each kind of which a silhouette is computed, since it needs the distance of each pair."""


@dataclass(frozen=True)
class Similarity:
    """A number and the ends of its 95 % interval; both are NaN where nothing is known of it."""

    value: float
    low: float
    high: float


def linear_cka(one: ArrayLike, other: ArrayLike) -> float:
    """Linear centred kernel alignment of two representations of the same samples, without the bias of few samples.

    1 where one is an orthogonally rotated and scaled copy of the other, 0 on average where they have nothing to do with
    each other (and then below 0 as often as above), however many features there are.

    HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)) (S. Kornblith et al., ICML 2019, arXiv 1905.00414) with the unbiased
    estimate of HSIC by L. Song et al., J. Mach. Learn. Res. 13, 1393 (2012), in which no sample meets itself.

    Parameters
    ----------
    one, other
        Shapes (n_samples, n_features), which may differ in the number of features; 4 samples at least.

    Raises
    ------
    ValueError
        If the numbers of samples differ or are too small, a number is not finite, or one of them does not vary.
    """
    x, y = (_centred(rows) for rows in (one, other))
    if len(x) != len(y):
        raise ValueError(f"{len(x)} samples here and {len(y)} there")
    if len(x) < 4:
        raise ValueError(f"{len(x)} samples, at least 4 are needed")
    product = _hsic(x, x) * _hsic(y, y)
    if not product > 0:
        raise ValueError("a representation does not vary")
    return float(_hsic(x, y) / np.sqrt(product))


def linear_cka_interval(one: ArrayLike, other: ArrayLike, groups: ArrayLike, *, seed: int = 0) -> Similarity:
    """`linear_cka` with a 95 % interval, from resampling whole `groups` of samples (the frame of each atom, say).

    Each of `RESAMPLED` draws takes half of the groups without replacement, which has the variance of the whole (D. N.
    Politis, J. P. Romano and M. Wolf, Subsampling, 1999); drawn with replacement, copies of a sample would be compared
    with each other, and unrelated representations seem alike.

    Parameters
    ----------
    groups
        The group of each sample, shape (n_samples,); `FEWEST` groups at least.

    Raises
    ------
    ValueError
        As `linear_cka`, and where there are too few groups.
    """
    x, y, labels = np.asarray(one, dtype=float), np.asarray(other, dtype=float), np.asarray(groups)
    value, names = linear_cka(x, y), np.unique(labels)
    if len(names) < FEWEST:
        raise ValueError(f"{len(names)} groups of samples, an interval needs {FEWEST}")
    rng, found = np.random.default_rng(seed), []
    for _ in range(RESAMPLED):
        chosen = np.isin(labels, rng.permutation(names)[: (len(names) + 1) // 2])
        found.append(linear_cka(x[chosen], y[chosen]))
    low, high = np.percentile(found, [2.5, 97.5])
    return Similarity(value, min(float(low), value), max(float(high), value))


def within_groups(rows: ArrayLike, groups: ArrayLike) -> Floats:
    """Samples minus the mean of their group (all atoms of an element, say): what tells them apart within it.

    Parameters
    ----------
    rows
        Shape (n_samples, n_features).
    groups
        The group of each sample, shape (n_samples,).
    """
    found, labels = np.array(rows, dtype=float), np.asarray(groups)
    for label in np.unique(labels):
        found[labels == label] -= found[labels == label].mean(axis=0)
    return found


def aligned(rows: ArrayLike, target: ArrayLike) -> Floats:
    """`rows` about the mean of `target`, scaled to its size and rotated so that they lie as close to it as they can.

    Orthogonal Procrustes, by SVD (P. H. Schoenemann, Psychometrika 31, 1, 1966): what a rotation and a scale cannot
    undo is left. Of different widths the narrower one gets columns of zeros.

    Parameters
    ----------
    rows, target
        The same samples, shapes (n_samples, n_features), which may differ in the number of features.

    Returns
    -------
    numpy.ndarray
        Shape (n_samples, the larger number of features).
    """
    one, other = (np.asarray(each, dtype=float) for each in (rows, target))
    mean = other.mean(axis=0)
    one, centred = one - one.mean(axis=0), other - mean
    width = max(one.shape[1], centred.shape[1])
    one, centred = (np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (one, centred))
    left, _, right = np.linalg.svd(one.T @ centred)
    scale = float(np.sqrt((centred**2).sum() / ((one**2).sum() or 1.0)))
    return np.asarray(scale * one @ left @ right + np.pad(mean, (0, width - len(mean))))


def silhouette(one: ArrayLike, other: ArrayLike, *, seed: int = 0) -> float:
    """Mean silhouette coefficient of two sets of samples in one space of descriptors (Rousseeuw, 1987).

    From -1 to 1: 0 where the sets lie within each other, 1 where each is far from the other. Two equal sets of n
    samples give -1 / n. Of large sets `SILHOUETTE_SAMPLES` of each are drawn.

    Raises
    ------
    ValueError
        If the numbers of features differ, or there are fewer than 2 samples in a set.
    """
    from sklearn.metrics import silhouette_score  # a second to import

    sets = [np.asarray(rows, dtype=float) for rows in (one, other)]
    if min(map(len, sets)) < 2 or sets[0].shape[1] != sets[1].shape[1]:
        shapes = " and ".join(str(rows.shape) for rows in sets)
        raise ValueError(f"a silhouette needs two sets of 2 samples or more with as many features, found {shapes}")
    rng = np.random.default_rng(seed)
    drawn = [rows[rng.permutation(len(rows))[:SILHOUETTE_SAMPLES]] for rows in sets]
    return float(silhouette_score(np.concatenate(drawn), np.repeat([0, 1], [len(rows) for rows in drawn])))


def _centred(rows: ArrayLike) -> Floats:
    """Samples minus their mean, in units of their size: HSIC is then no tiny or huge number."""
    found: Floats = np.asarray(rows, dtype=float)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise ValueError(f"expected finite numbers of shape (n_samples, n_features), found shape {found.shape}")
    found = found - found.mean(axis=0)
    size = np.sqrt((found**2).mean())
    return found / size if size > 0 else found


def _hsic(x: Floats, y: Floats) -> float:
    """The unbiased estimate of the Hilbert-Schmidt independence criterion for linear kernels, up to a factor of n.

    With K = X X' and L = Y Y' without their diagonals: tr(K L) + (1'K1)(1'L1) / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K L 1;
    from products of features, so that no matrix of samples by samples is held.
    """
    n = len(x)
    own_x, own_y = (x**2).sum(axis=1), (y**2).sum(axis=1)
    sums_x, sums_y = x @ x.sum(axis=0) - own_x, y @ y.sum(axis=0) - own_y
    trace = float(((x.T @ y) ** 2).sum() - own_x @ own_y)
    return trace + float(sums_x.sum() * sums_y.sum()) / ((n - 1) * (n - 2)) - 2 * float(sums_x @ sums_y) / (n - 2)
