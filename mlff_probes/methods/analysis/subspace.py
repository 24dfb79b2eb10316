"""How far a sample lies from what a model was trained on: Q residual and Hotelling's T^2 in a principal subspace.

Training samples are standardised, feature by feature, and their first principal components span the subspace. Q is the
squared distance of a sample from it, T^2 the squared distance within it from the mean, in standard deviations. Both
have limits that a stated share of samples like the training set's stays within.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.special import chdtri, fdtri, ndtri

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
"""Share of samples like those of the training set that a limit lets pass."""

EXPLAINED = 0.95
"""Share of the standardised variance that the components of a subspace explain, at least."""

MINIMUM_SAMPLES = 10
"""Fewest training samples: of fewer no variance is known to better than half of itself."""

STEADY = 1e-6
"""A feature whose spread is below this share of its size, or of the largest spread, is constant but for rounding (that
of a float32, some sums of them). It is measured in the median spread of the others, and not in its own: one that begins
to vary is then seen, and rounding is not."""

RANK = 1e-12
"""Eigenvalues below this share of the largest are zero."""

LARGEST_POWER = 1e-3
"""Below this |h0| the power 1 / h0 of Jackson and Mudholkar is no number any more, and Box's limit is taken."""

ROWS = 8192
"""Samples that are worked on together, which bounds memory."""


class NoSubspaceError(ValueError):
    """Training samples from which no subspace can be had; the message says why, in a line."""


@dataclass(frozen=True)
class Subspace:
    """The principal subspace of some training samples.

    Attributes
    ----------
    mean, scale
        Of each feature, shape (n_features,); a sample is standardised as (x - mean) / scale.
    axes
        Orthonormal columns that span it, shape (n_features, n_components).
    variances
        Of the training samples along each axis, shape (n_components,), falling.
    residual
        Sums over the other eigenvalues of the covariance, of their first, second and third powers.
    samples
        Training samples.
    """

    mean: Floats
    scale: Floats
    axes: Floats
    variances: Floats
    residual: tuple[float, float, float]
    samples: int

    @property
    def components(self) -> int:
        """How many there are."""
        return len(self.variances)

    @property
    def explained(self) -> float:
        """The share of the standardised variance that they explain, 0 to 1."""
        inside = float(self.variances.sum())
        return inside / (inside + self.residual[0])

    def distances(self, samples: ArrayLike) -> tuple[Floats, Floats]:
        """Q and T^2 of each sample, shape (n_samples,), from samples of shape (n_samples, n_features).

        With the standardised sample z, the axes P and their variances v, t = P' z:
        Q = |z - P t|^2 and T^2 = sum_i t_i^2 / v_i (J. E. Jackson, A User's Guide to Principal Components, 1991).

        Raises
        ------
        ValueError
            If they have another number of features, or one is not finite.
        """
        rows = _checked(samples)
        if rows.shape[1] != len(self.mean):
            raise ValueError(f"samples have {rows.shape[1]} features, those of the training set {len(self.mean)}")
        q, t2 = np.empty(len(rows)), np.empty(len(rows))
        for part in _parts(len(rows)):
            z = (rows[part] - self.mean) / self.scale
            t = z @ self.axes
            z -= t @ self.axes.T
            q[part] = np.einsum("ij,ij->i", z, z)
            t2[part] = (t**2 / self.variances).sum(axis=1)
        return q, t2

    def q_limit(self, confidence: float = CONFIDENCE) -> float:
        """The Q that a share `confidence` of samples like those of the training set stays below.

        That of J. E. Jackson and G. S. Mudholkar, Technometrics 21, 341 (1979), from the sums theta_i of the powers of
        the residual eigenvalues; where its power is out of range, that of G. E. P. Box, Ann. Math. Stat. 25, 290
        (1954). It takes the eigenvalues as known: from few samples they are too small, and more than 1 - `confidence`
        lie beyond.
        """
        one, two, three = self.residual
        power = 1 - 2 * one * three / (3 * two**2)
        base = 1 + float(ndtri(confidence)) * power * np.sqrt(2 * two) / one + two * power * (power - 1) / one**2
        if abs(power) < LARGEST_POWER or base <= 0:
            return float(two / one * chdtri(one**2 / two, 1 - confidence))
        return float(one * base ** (1 / power))

    def t2_limit(self, confidence: float = CONFIDENCE) -> float:
        """The T^2 that a share `confidence` of new samples like those of the training set stays below.

        k (n^2 - 1) / (n (n - k)) times the quantile of F with k and n - k degrees of freedom, for n training samples
        and k components (Jackson, 1991).
        """
        n, k = self.samples, self.components
        return float(k * (n**2 - 1) / (n * (n - k)) * fdtri(k, n - k, confidence))


class Training:
    """Training samples, which come in parts: memory grows with the square of the features, not with the samples."""

    def __init__(self) -> None:
        self._held: list[Floats] = []
        self._mean: Floats = np.zeros(0)
        self._scatter: Floats | None = None
        self._merged = 0

    @property
    def samples(self) -> int:
        """How many there are."""
        return self._merged + sum(map(len, self._held))

    def add(self, samples: ArrayLike) -> None:
        """Take samples in, shape (n_samples, n_features).

        Raises
        ------
        ValueError
            If they have another number of features than those before, or one is not finite.
        """
        rows = _checked(samples)
        features = self._held[0].shape[1] if self._held else len(self._mean) or rows.shape[1]
        if rows.shape[1] != features:
            raise ValueError(f"samples have {rows.shape[1]} features, those before {features}")
        self._held.append(rows)
        held = sum(map(len, self._held))
        if held > features and held > ROWS:
            self._merge()

    def subspace(self, explained: float = EXPLAINED) -> Subspace:
        """The subspace of the components that explain a share `explained` of the standardised variance, at least.

        Raises
        ------
        NoSubspaceError
            If there are fewer than `MINIMUM_SAMPLES`, they do not vary, or the components leave nothing outside.
        """
        n = self.samples
        if n < MINIMUM_SAMPLES:
            raise NoSubspaceError(f"{n} training atoms, at least {MINIMUM_SAMPLES} are needed")
        whole = self._scatter is None and n <= self._held[0].shape[1]
        if not whole:
            self._merge()
        found = _from_rows(np.concatenate(self._held)) if whole else _from_scatter(self._mean, self._scatter, n)
        mean, scale, values, axes = found
        kept = values > RANK * values[0]
        values, axes = values[kept], axes[:, kept]
        share = np.cumsum(values) / values.sum()
        k = int(np.searchsorted(share, explained - RANK)) + 1
        if k >= min(len(values), n - 1):
            raise NoSubspaceError(f"{k} components explain all variance of {n} training atoms: nothing is outside")
        powers = tuple(float((values[k:] ** power).sum()) for power in (1, 2, 3))
        return Subspace(mean, scale, axes[:, :k], values[:k], powers, n)  # type: ignore[arg-type]

    def _merge(self) -> None:
        """Add the held samples to mean and scatter (Chan, Golub and LeVeque, Am. Stat. 37, 242 (1983))."""
        if not self._held:
            return
        rows, self._held = np.concatenate(self._held), []
        mean = rows.mean(axis=0)
        rows -= mean
        scatter = rows.T @ rows
        if self._scatter is None:
            self._mean, self._scatter, self._merged = mean, scatter, len(rows)
            return
        n, apart = self._merged + len(rows), mean - self._mean
        self._scatter += scatter + np.outer(apart, apart) * (self._merged * len(rows) / n)
        self._mean = self._mean + apart * (len(rows) / n)
        self._merged = n


def _from_rows(rows: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, scale, eigenvalues (falling) and eigenvectors (columns) of fewer samples than features."""
    mean = rows.mean(axis=0)
    scale = _scale(mean, rows.std(axis=0, ddof=1))
    _, singular, axes = np.linalg.svd((rows - mean) / scale, full_matrices=False)
    return mean, scale, singular**2 / (len(rows) - 1), axes.T


def _from_scatter(mean: Floats, scatter: Floats | None, samples: int) -> tuple[Floats, Floats, Floats, Floats]:
    """The same of many samples, from the sum of the outer products of their distances from the mean."""
    assert scatter is not None
    covariance = scatter / (samples - 1)
    scale = _scale(mean, np.sqrt(np.diag(covariance)))
    values, axes = eigh(covariance / np.outer(scale, scale))
    return mean, scale, np.maximum(values[::-1], 0.0), axes[:, ::-1]


def _scale(mean: Floats, spread: Floats) -> Floats:
    """The unit of each feature: its standard deviation, or of a constant one the median of the others (`STEADY`)."""
    varies = spread > STEADY * np.maximum(np.abs(mean), spread.max())
    if not varies.any():
        raise NoSubspaceError("the descriptors do not vary over the training atoms")
    return np.where(varies, spread, np.median(spread[varies]))


def _checked(samples: ArrayLike) -> Floats:
    rows = np.asarray(samples, dtype=float)
    if rows.ndim != 2:
        raise ValueError(f"samples have shape {rows.shape}, expected (n_samples, n_features)")
    if not np.isfinite(rows).all():
        raise ValueError(f"{int((~np.isfinite(rows)).any(axis=1).sum())} of {len(rows)} samples are not finite")
    return rows


def _parts(length: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, length, ROWS))
