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

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

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

DEGREES = (slice(0, 1), slice(1, 4), slice(4, 9))
ANGULAR = 9
"""Which of the real spherical harmonics have l = 0, 1 and 2, and how many they are."""

ROOT_3 = np.sqrt(3.0)

TABLE_SPACING = 0.005
"""Distance, in A, between the nodes of the learnt pair curves: between them they are within 1e-8 of their Gaussians."""

FAR = 100.0
"""Where the places stand that no neighbour takes, in A along each axis: beyond every cutoff."""

AT_ONCE = 4000
"""So many pairs are predicted together: more do not fit into a core's cache."""

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

LAST_POINTS = 40
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
        self.around = _Around.of(atoms, self.element, points)
        low, high = np.sort(np.broadcast_arrays(self.element[:, None], self.element[self.around.other]), axis=0)
        kinds, kind = np.unique(low * self.n_elements + high, return_inverse=True)
        self.n_kinds, self.kind = len(kinds), kind.reshape(low.shape)
        self.pair_centres = np.arange(PAIR_START, PAIR_CUTOFF, PAIR_SPACING)
        self.n_radial = max(2, min(RADIAL_FUNCTIONS, MOST_CHANNELS // self.n_elements))
        self.radial_centres = np.linspace(RADIAL_START, DENSITY_CUTOFF - RADIAL_MARGIN, self.n_radial)
        self.radial_width = float(self.radial_centres[1] - self.radial_centres[0]) * RADIAL_OVERLAP
        self.n_channels = self.n_elements * self.n_radial
        self.upper = np.triu_indices(self.n_channels)
        self.twice = np.where(self.upper[0] == self.upper[1], 1.0, 2.0)
        self.n_pair_features = self.n_kinds * len(self.pair_centres)
        self.n_features = self.n_pair_features + self.n_elements * len(DEGREES) * len(self.twice)
        self.at_once = max(1, AT_ONCE // max(1, self.around.other.size))
        self.values: list[Floats] = []
        self.normal: Floats = np.zeros((self.n_features, self.n_features))
        self.wanted: Floats = np.zeros(self.n_features)
        self.n_rows = 0

    def features(self, point: Floats) -> tuple[Floats, Floats]:
        """Features of one configuration, shape (n_features,), and their gradients, (3 n_atoms, n_features)."""
        unit, distance = self.around.seen(point[None])
        pair, pair_gradient = self._pair_features(unit, distance)
        triplet, triplet_gradient = self._triplet_features(unit, distance)
        return np.concatenate([pair, triplet]), np.concatenate([pair_gradient, triplet_gradient], axis=1)

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
        pair_weights = coefficients[: self.n_pair_features].reshape(self.n_kinds, len(self.pair_centres))
        self.pair_curves = _tabulated(pair_weights, self.pair_centres)
        weights = np.zeros((self.n_elements, len(DEGREES), self.n_channels, self.n_channels))
        weights[:, :, self.upper[0], self.upper[1]] = coefficients[self.n_pair_features :].reshape(
            self.n_elements, len(DEGREES), -1
        )
        weights = (weights + weights.swapaxes(-1, -2)) * (1 - 0.5 * np.eye(self.n_channels))
        self.weights: Floats = weights[self.element]

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Energies, shape (n,), and forces, (n, 3 n_atoms), of `points`."""
        energies, forces = np.empty(len(points)), np.empty_like(points)
        for start in range(0, len(points), self.at_once):
            some = slice(start, start + self.at_once)
            unit, distance = self.around.seen(points[some])
            pair_energies, pair_forces = self._pairs(unit, distance)
            triplet_energies, triplet_forces = self._triplets(unit, distance)
            energies[some] = self.constant + pair_energies + triplet_energies
            forces[some] = (pair_forces + triplet_forces).transpose(1, 2, 0).reshape(-1, points.shape[1])
        return energies, forces

    def _pairs(self, unit: Floats, distance: Floats) -> tuple[Floats, Floats]:
        """Energies and forces of the pairs: both atoms have a pair among theirs, each with half of its energy."""
        place = np.minimum(distance, PAIR_CUTOFF) / TABLE_SPACING
        row = place.astype(np.intp)
        place -= row
        constant, linear, square, cube = self.pair_curves[self.kind, row].transpose(3, 0, 1, 2)
        energy = ((cube * place + square) * place + linear) * place + constant
        slope = ((3 * cube * place + 2 * square) * place + linear) / TABLE_SPACING
        return 0.5 * energy.sum(axis=(1, 2)), (unit * slope).sum(axis=-1)

    def _triplets(self, unit: Floats, distance: Floats) -> tuple[Floats, Floats]:
        """Energies and forces of the power spectrum."""
        unit, distance = unit[..., : self.around.n_dense], distance[..., : self.around.n_dense]
        part, slope = radial(distance, self.radial_centres, self.radial_width, DENSITY_CUTOFF)
        harmonic = harmonics(unit)
        part, slope, each = _by_atom(part), _by_atom(slope), _by_atom(harmonic)
        density = self._density(part, each)
        weighted = np.empty_like(density)
        for degree, of in enumerate(DEGREES):
            weighted[..., of] = self.weights[:, degree] @ density[..., of]
        pulls = 2 * weighted.reshape(*weighted.shape[:2], self.n_elements, self.n_radial, ANGULAR)
        along, turning = np.empty_like(distance), np.empty_like(harmonic)
        turned = _by_atom(turning)
        for into, block in enumerate(self.around.blocks):
            pull = pulls[:, :, into]
            along[..., block] = ((pull @ each[..., block]) * slope[..., block]).sum(axis=-2)
            turned[..., block] = pull.swapaxes(-1, -2) @ part[..., block]
        forces = self.around.forces(along * unit + slopes_of_harmonics(turning, unit, distance))
        return (density * weighted).sum(axis=(1, 2, 3)), forces

    def _density(self, part: Floats, harmonic: Floats) -> Floats:
        """A of the module's second formula, shape (n_points, n_atoms, n_channels, 9), of both `_by_atom`."""
        each = [part[..., block] @ harmonic[..., block].swapaxes(-1, -2) for block in self.around.blocks]
        return np.concatenate(each, axis=-2)

    def _pair_features(self, unit: Floats, distance: Floats) -> tuple[Floats, Floats]:
        value, slope = radial(distance, self.pair_centres, PAIR_SPACING, PAIR_CUTOFF)
        values = np.empty((self.n_kinds, len(self.pair_centres)))
        gradients = np.empty((self.n_atoms, 3, self.n_kinds, len(self.pair_centres)))
        for kind in range(self.n_kinds):
            of = self.kind == kind
            values[kind] = 0.5 * value[:, 0, of].sum(axis=-1)
            gradients[:, :, kind] = -_by_atom(unit * of)[0] @ slope[:, 0].transpose(1, 2, 0)
        return values.ravel(), gradients.reshape(3 * self.n_atoms, -1)

    def _triplet_features(self, unit: Floats, distance: Floats) -> tuple[Floats, Floats]:
        unit, distance = unit[..., : self.around.n_dense], distance[..., : self.around.n_dense]
        part, slope = radial(distance, self.radial_centres, self.radial_width, DENSITY_CUTOFF)
        harmonic = harmonics(unit)
        density = self._density(_by_atom(part), _by_atom(harmonic))[0]
        centre, place = np.nonzero(distance[0] < DENSITY_CUTOFF)
        other, near = self.around.other[centre, place], unit[:, 0, centre, place]
        apart, part, slope = distance[0, centre, place], part[:, 0, centre, place], slope[:, 0, centre, place]
        turning = np.stack([slopes_of_harmonics(one[:, None], near, apart) for one in np.eye(ANGULAR)])
        density_slope = part[:, None, None] * turning
        density_slope += slope[:, None, None] * harmonic[:, None, 0, centre, place] * near
        values = np.zeros((self.n_elements, len(DEGREES), len(self.twice)))
        gradients = np.empty((3 * self.n_atoms, self.n_elements, len(DEGREES), len(self.twice)))
        shape = (self.n_elements, self.n_elements, self.n_atoms, 3, self.n_radial, self.n_channels)
        for degree, of in enumerate(DEGREES):
            product = density[..., of] @ density[..., of].swapaxes(1, 2)
            np.add.at(values[:, degree], self.element, product[:, self.upper[0], self.upper[1]] * self.twice)
            each = np.einsum("nmkp,pcm->pknc", density_slope[:, of], density[centre][..., of], optimize=True)
            change = np.zeros(shape)
            np.add.at(change, (self.element[centre], self.element[other], other), each)
            np.add.at(change, (self.element[centre], self.element[other], centre), -each)
            half = change.transpose(2, 3, 0, 1, 4, 5).reshape(-1, self.n_elements, self.n_channels, self.n_channels)
            gradients[:, :, degree] = (half + half.swapaxes(-1, -2))[..., self.upper[0], self.upper[1]] * self.twice
        return values.ravel(), gradients.reshape(3 * self.n_atoms, -1)


@dataclass(frozen=True)
class _Around:
    """The neighbours of each atom, in as many places for all; a place that is left stands far away.

    First come those within reach of the density, a block of places an element, then the others.

    Attributes
    ----------
    other
        The neighbours, shape (n_atoms, n_places).
    shift
        Of a neighbour's image, A, shape (3, n_atoms, n_places).
    blocks
        The places of each element.
    back
        The place, counted through those of all blocks, in which a neighbour has the atom; its own for one that is left.
    """

    other: Integers
    shift: Floats
    blocks: tuple[slice, ...]
    back: Integers

    @property
    def n_dense(self) -> int:
        """Places within reach of the density."""
        return int(self.blocks[-1].stop)

    @classmethod
    def of(cls, atoms: Atoms, element: Integers, points: Floats) -> _Around:
        """Neighbours that a pair or the density can have, where none comes nearer by `SKIN` than in all `points`."""
        first, second, cells = neighbour_pairs(atoms, points, PAIR_CUTOFF + SKIN)
        shift = cells @ np.asarray(atoms.cell)
        positions = points.reshape(len(points), -1, 3)
        nearest = np.linalg.norm(positions[:, second] - positions[:, first] + shift, axis=-1).min(axis=0)
        n_atoms, n_blocks = len(atoms), int(element.max()) + 1
        block = np.where(nearest < DENSITY_CUTOFF + SKIN, element[second], n_blocks)
        group = first * (n_blocks + 1) + block
        order = np.lexsort((*cells.T, second, group))
        first, second, cells, group, block = first[order], second[order], cells[order], group[order], block[order]
        counts = np.bincount(group, minlength=n_atoms * (n_blocks + 1))
        most = counts.reshape(n_atoms, -1).max(axis=0)
        starts = np.cumsum(most) - most
        place = starts[block] + np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
        other = np.repeat(np.arange(n_atoms)[:, None], most.sum(), axis=1)
        other[first, place] = second
        shifts = np.full((3, *other.shape), FAR)
        shifts[:, first, place] = shift[order].T
        n_dense = int(starts[-1])
        back = np.arange(n_atoms * n_dense)
        dense = block < n_blocks
        first, second, cells, place = first[dense], second[dense], cells[dense], first[dense] * n_dense + place[dense]
        there, here = np.lexsort((*cells.T, second, first)), np.lexsort((*-cells.T, first, second))
        back[place[there]] = place[here]
        blocks = tuple(slice(int(start), int(start + size)) for start, size in zip(starts[:-1], most[:-1], strict=True))
        return cls(other, shifts, blocks, back)

    def seen(self, points: Floats) -> tuple[Floats, Floats]:
        """Directions to the neighbours, shape (3, n_points, n_atoms, n_places), and their distances, A."""
        positions = np.ascontiguousarray(points.reshape(len(points), -1, 3).transpose(2, 0, 1))
        vectors = positions[:, :, self.other]
        vectors -= positions[..., None]
        vectors += self.shift[:, None]
        distance = np.sqrt((vectors**2).sum(axis=0))
        vectors /= distance
        return vectors, distance

    def forces(self, gradients: Floats) -> Floats:
        """Forces on the atoms where `gradients` are with respect to the vectors to neighbours of all blocks."""
        each = gradients.reshape(*gradients.shape[:2], -1)
        net: Floats = (each - each[:, :, self.back]).reshape(gradients.shape).sum(axis=-1)
        return net


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


def radial(distance: Floats, centres: Floats, width: float, cutoff: float) -> tuple[Floats, Floats]:
    """Gaussians that a cosine takes to zero at `cutoff`, and their derivatives; shape (n_centres, ...).

    The `centres` are equally far apart, so that each Gaussian is the one before it times a power.
    """
    within = np.minimum(distance, cutoff)
    cosine = np.cos(within * (np.pi / cutoff))
    switch, fall = 0.5 + 0.5 * cosine, 0.5 * np.pi / cutoff * np.sqrt(1 - cosine**2)
    offset, step = (within - centres[0]) / width, (centres[1] - centres[0]) / width
    gauss, power = np.exp(-0.5 * offset**2), np.exp(step * offset)
    values = np.empty((len(centres), *distance.shape))
    slopes = np.empty_like(values)
    for index in range(len(centres)):
        values[index] = gauss * switch
        slopes[index] = -gauss * fall - values[index] * ((offset - index * step) / width)
        gauss *= power * np.exp(-(index + 0.5) * step**2)
    return values, slopes


def harmonics(unit: Floats) -> Floats:
    """Real spherical harmonics for l = 0, 1, 2 (Racah's normalisation) of unit vectors, (3, ...); shape (9, ...)."""
    x, y, z = unit
    values = np.empty((ANGULAR, *x.shape))
    values[0], values[1:4] = 1.0, unit
    values[4], values[5], values[6] = ROOT_3 * x * y, ROOT_3 * y * z, ROOT_3 * x * z
    values[7], values[8] = 1.5 * z * z - 0.5, 0.5 * ROOT_3 * (x * x - y * y)
    return values


def slopes_of_harmonics(weights: Floats, unit: Floats, distance: Floats) -> Floats:
    """Gradients of the sum of the nine `harmonics`, each times its weight (held), with respect to the vectors.

    `weights` has shape (9, ...), `unit` and what is given back (3, ...), `distance` is in A.
    """
    x, y, z = unit
    xy, yz, xz, zz, xx_yy = (
        ROOT_3 * weights[4],
        ROOT_3 * weights[5],
        ROOT_3 * weights[6],
        weights[7],
        ROOT_3 * weights[8],
    )
    slope = np.empty_like(unit)
    slope[0] = weights[1] + xy * y + xz * z + xx_yy * x
    slope[1] = weights[2] + xy * x + yz * z - xx_yy * y
    slope[2] = weights[3] + yz * y + xz * x + 3 * zz * z
    slope -= (slope * unit).sum(axis=0) * unit
    slope /= distance
    return slope


def _by_atom(values: Floats) -> Floats:
    """Of shape (n_points, n_atoms, n, n_places), where the n came first."""
    return values.transpose(1, 2, 0, 3)


def _tabulated(weights: Floats, centres: Floats) -> Floats:
    """The sum of the pairs' Gaussians as cubics between distances `TABLE_SPACING` apart (Hermite's: a smooth curve).

    Shape (n_kinds, n_rows, 4): coefficients of powers of the fraction of a row.
    """
    nodes = np.arange(0.0, PAIR_CUTOFF + 2.5 * TABLE_SPACING, TABLE_SPACING)
    value, slope = (weights @ of for of in radial(nodes, centres, PAIR_SPACING, PAIR_CUTOFF))
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
