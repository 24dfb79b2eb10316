"""A potential learnt from the images already evaluated: pairs and triplets by ridge regression, the rest by a GP.

Two parts are added. The first is linear in its coefficients and is a sum over atoms, so that what one atom
teaches holds for its like in every image: Gaussians of the pair distances, and the power spectrum of the
neighbour density (A. P. Bartok, R. Kondor and G. Csanyi, Phys. Rev. B 87, 184115 (2013), eq. 31; linear as in
R. Drautz, Phys. Rev. B 99, 014104 (2019))::

    E = sum_pairs sum_b a_b g_b(r)  +  sum_i sum_l sum_cd W_cd^l  sum_m A_i,c,lm A_i,d,lm
    A_i,c,lm = sum_j R_c(r_ij) Y_lm(r_ij),        l = 0, 1, 2

The second is a Gaussian process on the Cartesian displacements, squared exponential, for what that leaves of
the energies and forces (O.-P. Koistinen et al., J. Chem. Phys. 147, 152720 (2017); J. A. Garrido Torres et al.,
Phys. Rev. Lett. 122, 156001 (2019)). Without the first part its prior is so far off in the stiff directions
that it needs more calls than no surrogate at all.

Units are eV and A throughout; configurations are rows of flattened, unwrapped Cartesian positions.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from mlff_probes.methods.bands import power_spectrum
from mlff_probes.methods.bands.power_spectrum import Around, Gaussians, Learnt
from mlff_probes.methods.constraints import Freedom
from mlff_probes.methods.neighbours import neighbours

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

PAIR_CUTOFF = 6.0
DENSITY_CUTOFF = 5.0
"""Second neighbours and more in dense solids, in A."""

SKIN = 1.5
"""How much nearer, in A, a pair may come on the way than it is in any image of the first band."""

PAIR_START, PAIR_SPACING = 1.6, 0.4
"""First centre and spacing (also the width) of the Gaussians of pair distances, in A."""

RADIAL_FUNCTIONS, MOST_CHANNELS = 4, 16
RADIAL_START, RADIAL_MARGIN = 2.0, 0.5
RADIAL_OVERLAP = 0.8
"""The density's Gaussians: how many for each element (fewer where elements are many: the power spectrum grows with
the square of elements times Gaussians), the first, how far the last from the cutoff (A), width over spacing."""

N_DEGREES = 3
"""l = 0, 1 and 2."""

TABLE_SPACING = 0.005
"""Distance, in A, between the nodes of the learnt pair curves: between them they are within 1e-8 of their Gaussians."""

RIDGE = 100 * (0.03 / 0.5) ** 2
"""Penalty on a coefficient whose feature is scaled to a root mean square force of 1 eV/A. Of 1 to 1,000 times
(0.03/0.5)^2 the best on the Cr band: below 30 the model has holes, into which the band falls."""

LEAST_FEATURE = 1e-6
"""Features whose forces are this small beside those of the others are left out."""

ENERGY_WEIGHT = 3.0
"""Weight of an energy against a force component, in 1/A."""

LENGTHS = (1.2, 0.6)
"""Length scales of the Gaussian process, A: the one under which the last `JUDGED_POINTS` residuals are likeliest is
taken. Sound models are as smooth as the first; the second is for the rough ones."""

JUDGED_POINTS = 20

ENERGY_NOISE, FORCE_NOISE = 1e-3 / 0.3, 5e-3 / 0.25
"""Noise, as a fraction of the standard deviation that the process gives energies and forces at a length of 1.2 A."""

LAST_POINTS = 30
"""The process is on so many points, the last ones: its matrix has as many rows as these have force components."""

SAME_DIRECTION = 1e-6
"""Singular values below this, in A, span nothing."""


class LinearPotential:
    """Pairs and power spectrum, fitted by ridge regression.

    Parameters
    ----------
    atoms
        Elements, cell, periodicity, and constraints: of an atom that may move in some directions the forces in these
        alone are learned; of one that is held altogether all, since they are what the others do to it.
    points
        Configurations of the first band: which atoms are neighbours is settled once, with a skin.
    """

    def __init__(self, atoms: Atoms, points: Floats) -> None:
        self.n_atoms, self.taught = len(atoms), Freedom.of(atoms).of_moving_atoms()
        elements, self.element = np.unique(atoms.numbers, return_inverse=True)
        self.n_elements = len(elements)
        self.around = _around(atoms, points, self.element)
        self.n_kinds = self.n_elements * (self.n_elements + 1) // 2
        self.pairs = Gaussians(np.arange(PAIR_START, PAIR_CUTOFF, PAIR_SPACING), PAIR_SPACING, PAIR_CUTOFF)
        n_radial = max(2, min(RADIAL_FUNCTIONS, MOST_CHANNELS // self.n_elements))
        centres = np.linspace(RADIAL_START, DENSITY_CUTOFF - RADIAL_MARGIN, n_radial)
        self.density = Gaussians(centres, float(centres[1] - centres[0]) * RADIAL_OVERLAP, DENSITY_CUTOFF)
        self.n_channels = self.n_elements * n_radial
        self.upper = np.triu_indices(self.n_channels)
        self.n_pair_features = self.n_kinds * len(self.pairs.centres)
        self.n_features = self.n_pair_features + self.n_elements * N_DEGREES * len(self.upper[0])
        self.values: list[Floats] = []
        self.normal: Floats = np.zeros((self.n_features, self.n_features))
        self.wanted: Floats = np.zeros(self.n_features)
        self.n_rows = 0

    def features(self, point: Floats) -> tuple[Floats, Floats]:
        """Features of one configuration, shape (n_features,), and their gradients, (3 n_atoms, n_features)."""
        of_pairs = (self.n_kinds, len(self.pairs.centres))
        of_triplets = (self.n_elements, N_DEGREES, len(self.upper[0]))
        pairs, pair_gradients = np.zeros(of_pairs), np.zeros((self.n_atoms, 3, *of_pairs))
        triplets, triplet_gradients = np.zeros(of_triplets), np.zeros((self.n_atoms, 3, *of_triplets))
        position = point.reshape(-1, 3)
        power_spectrum.pair_features(position, self.around, self.pairs, pairs, pair_gradients)
        power_spectrum.triplet_features(position, self.around, self.density, triplets, triplet_gradients)
        gradients = [each.reshape(3 * self.n_atoms, -1) for each in (pair_gradients, triplet_gradients)]
        return np.concatenate([pairs.ravel(), triplets.ravel()]), np.concatenate(gradients, axis=1)

    def learn(self, point: Floats, forces: Floats) -> None:
        """Take up one configuration and its forces for `fit`."""
        values, gradient = self.features(point)
        gradient = self.taught.part(gradient.T).T
        self.values.append(values)
        self.normal += gradient.T @ gradient
        self.wanted -= gradient.T @ forces
        self.n_rows += len(gradient)

    def fit(self, energies: Floats) -> None:
        """Ridge regression on the forces of all configurations learnt, and on their `energies` (less the mean)."""
        values = np.array(self.values)
        mean = values.mean(axis=0)
        scale = np.sqrt(np.diagonal(self.normal) / self.n_rows)
        least = max(LEAST_FEATURE * float(np.sqrt((scale**2).mean())), np.finfo(float).tiny)
        scale = np.where(scale > least, 1 / np.maximum(scale, least), 0.0)  # a feature that no image has says nothing
        weighted = ENERGY_WEIGHT * (values - mean)
        normal = (self.normal + weighted.T @ weighted) * scale[:, None] * scale
        normal[np.diag_indices_from(normal)] += RIDGE
        wanted = scale * (self.wanted + ENERGY_WEIGHT * weighted.T @ (energies - energies.mean()))
        coefficients = cho_solve(cho_factor(normal, overwrite_a=True), wanted) * scale
        self.constant = float(energies.mean() - mean @ coefficients)
        pair_weights = coefficients[: self.n_pair_features].reshape(self.n_kinds, len(self.pairs.centres))
        weights = np.zeros((self.n_elements, N_DEGREES, self.n_channels, self.n_channels))
        weights[:, :, self.upper[0], self.upper[1]] = coefficients[self.n_pair_features :].reshape(
            self.n_elements, N_DEGREES, -1
        )
        weights = (weights + weights.swapaxes(-1, -2)) * (1 - 0.5 * np.eye(self.n_channels))
        curves = _tabulated(pair_weights, self.pairs)
        self.learnt = Learnt(PAIR_CUTOFF, TABLE_SPACING, curves, self.density, weights)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Energies, shape (n,), and forces, (n, 3 n_atoms), of `points`."""
        energies, forces = np.empty(len(points)), np.zeros((len(points), self.n_atoms, 3))
        for index, point in enumerate(points):
            energies[index] = self.constant + power_spectrum.energy_and_forces(
                point.reshape(-1, 3), self.around, self.learnt, forces[index]
            )
        return energies, forces.reshape(points.shape)


def _around(atoms: Atoms, points: Floats, element: Integers) -> Around:
    """Neighbours that a pair or the density can have, where none comes nearer by `SKIN` than in all `points`."""
    first, second, cells = neighbour_pairs(atoms, points, PAIR_CUTOFF + SKIN)
    low, high = np.sort([element[first], element[second]], axis=0)
    return Around(
        start=np.searchsorted(first, np.arange(len(atoms) + 1)),
        other=np.ascontiguousarray(second),
        shift=cells @ np.asarray(atoms.cell),
        element=element,
        kind=high * (high + 1) // 2 + low,
    )


class Residual:
    """Gaussian process with derivative observations, for what a mean function leaves.

    With k = a^2 exp(-d^2/2l^2) the covariances are cov(E, E') = k, cov(E, dE'/dx') = k d/l^2 and
    cov(dE/dx, dE'/dx') = k (1/l^2 - d d^T/l^4), where d = x - x'. Across the span of the points the last one is
    diagonal and the second vanishes, so that these components separate exactly and only a matrix as large as
    the points are many has to be solved for them.
    """

    def __init__(self, points: Floats, energies: Floats, forces: Floats) -> None:
        self.points = points
        last = slice(-JUDGED_POINTS, None)
        self.length = max(
            LENGTHS, key=lambda length: _Inside(points[last], energies[last], forces[last], length).likelihood
        )
        inside = _Inside(points, energies, forces, self.length)
        across = inside.forces @ inside.basis - forces
        noise = (FORCE_NOISE / LENGTHS[0]) ** 2 * np.eye(len(points))
        across = cho_solve(cho_factor(inside.kernel / self.length**2 + noise), across)
        self.energy_weights = inside.solved[:, 0]
        self.gradient_weights = inside.solved[:, 1:] @ inside.basis + across

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean energies and forces at `points`."""
        apart = points[:, None] - self.points[None]
        kernel = np.exp(-0.5 * (apart**2).sum(axis=-1) / self.length**2)
        along = (apart * self.gradient_weights).sum(axis=-1) / self.length**2
        each = kernel * (self.energy_weights + along)
        gradient = kernel @ self.gradient_weights - (each[:, None] @ apart)[:, 0]
        return each.sum(axis=1), -gradient / self.length**2


class _Inside:
    """The process within the span of its points, at one length; `likelihood` is up to a constant, best amplitude."""

    def __init__(self, points: Floats, energies: Floats, forces: Floats, length: float) -> None:
        centred = points - points.mean(axis=0)
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        self.basis = directions[singular > SAME_DIRECTION]
        n, m = len(points), len(self.basis)
        self.forces = forces @ self.basis.T
        self.kernel, matrix = _covariance(centred @ self.basis.T, length)
        noise = np.full((n, m + 1), (FORCE_NOISE / LENGTHS[0]) ** 2)
        noise[:, 0] = ENERGY_NOISE**2
        matrix[np.diag_indices_from(matrix)] += noise.ravel()
        wanted = np.concatenate([energies[:, None], -self.forces], axis=1).ravel()
        factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
        solved = cho_solve(factor, wanted)
        self.likelihood = -0.5 * len(wanted) * float(np.log(max(wanted @ solved, np.finfo(float).tiny)))
        self.likelihood -= float(np.log(np.diagonal(factor[0])).sum())
        self.solved: Floats = solved.reshape(n, m + 1)


class LearnedPotential:
    """The linear potential plus the process on its residuals; grows with the evaluations it is shown."""

    def __init__(self, atoms: Atoms, points: Floats) -> None:
        self.linear, self.freedom = LinearPotential(atoms, points), Freedom.of(atoms)

    def fit(self, points: Floats, energies: Floats, forces: Floats) -> None:
        """Learn from all evaluations so far; those already seen must come first and be the same."""
        for index in range(len(self.linear.values), len(points)):
            self.linear.learn(points[index], forces[index])
        self.linear.fit(energies)
        last = slice(-LAST_POINTS, None)
        mean, pull = self.linear.predict(points[last])
        self.residual = Residual(points[last], energies[last] - mean, self.freedom.part(forces[last] - pull))

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Energies and the free part of the forces at `points`."""
        mean, pull = self.linear.predict(points)
        energies, forces = self.residual.predict(points)
        return mean + energies, self.freedom.part(pull + forces)


def neighbour_pairs(atoms: Atoms, points: Floats, cutoff: float) -> tuple[Integers, Integers, Integers]:
    """Directed pairs (i, j, cell of j) nearer than `cutoff` in any of `points`."""
    found = []
    for point in points:
        near = neighbours(point.reshape(-1, 3), atoms.cell.complete().array, atoms.pbc, cutoff)
        found.append(np.column_stack([near.first, near.second, near.cells]))
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[:, 0], pairs[:, 1], pairs[:, 2:]


def _tabulated(weights: Floats, gaussians: Gaussians) -> Floats:
    """The sum of the pairs' Gaussians as cubics between distances `TABLE_SPACING` apart (Hermite's: a smooth curve).

    Shape (n_kinds, n_rows, 4): coefficients of powers of the fraction of a row.
    """
    nodes = np.arange(0.0, PAIR_CUTOFF + 2.5 * TABLE_SPACING, TABLE_SPACING)
    values, slopes = np.zeros((2, len(nodes), len(gaussians.centres)))
    for row in range(int(np.searchsorted(nodes, PAIR_CUTOFF))):
        power_spectrum.radial(nodes[row], gaussians, values[row], slopes[row])
    value, slope = weights @ values.T, weights @ slopes.T
    slope *= TABLE_SPACING
    rise, before, after = np.diff(value, axis=1), slope[:, :-1], slope[:, 1:]
    return np.stack([value[:, :-1], before, 3 * rise - 2 * before - after, before + after - 2 * rise], axis=-1)


def _covariance(points: Floats, length: float) -> tuple[Floats, Floats]:
    """Kernel, shape (n, n), and covariances of energies and gradients, shape (n (m + 1), n (m + 1)); amplitude 1."""
    n, m = points.shape
    apart = points[:, None] - points[None]
    kernel = np.exp(-0.5 * (apart**2).sum(axis=-1) / length**2)
    cross = kernel[..., None] * apart / length**2
    matrix = np.empty((n, m + 1, n, m + 1))
    matrix[:, 0, :, 0] = kernel
    matrix[:, 0, :, 1:] = cross
    matrix[:, 1:, :, 0] = -cross.transpose(0, 2, 1)
    matrix[:, 1:, :, 1:] = -cross.transpose(0, 2, 1)[..., None] * apart[:, None] / length**2
    diagonal = np.arange(1, m + 1)
    matrix[:, diagonal, :, diagonal] += kernel / length**2
    return kernel, matrix.reshape(n * (m + 1), -1)
