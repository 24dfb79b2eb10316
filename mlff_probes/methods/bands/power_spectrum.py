"""Pairs and power spectrum of one configuration, compiled: what the learnt potential does thousands of times a band.

The sums of `mlff_probes.methods.bands.learned` as plain loops over atoms and their neighbours. Compiled code is kept
beside this file, or in the user's cache where that cannot be written; where neither can, each process compiles it anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ANGULAR = 9
"""The real spherical harmonics with l = 0, 1 and 2."""

FIRST_OF_DEGREE = (0, 1, 4, ANGULAR)
"""Which of them have l = 0, 1 and 2: from one number to the next."""

ROOT_3 = math.sqrt(3.0)


class Around(NamedTuple):
    """The neighbours of all atoms.

    Attributes
    ----------
    start, other, shift
        Those of atom i are ``other[start[i]:start[i + 1]]``, in the cell that is `shift` away, A.
    element, kind
        Of each atom, and of the pair that it makes with each neighbour; counted from 0.
    """

    start: Integers
    other: Integers
    shift: Floats
    element: Integers
    kind: Integers


class Gaussians(NamedTuple):
    """Radial functions: their centres, equally far apart, their width, and where they are zero; A."""

    centres: Floats
    width: float
    cutoff: float


class Learnt(NamedTuple):
    """The linear potential without its constant.

    Attributes
    ----------
    cutoff, spacing, curves
        Of pairs: their cutoff, A, spacing of the nodes between which their energies are cubics, A, and the coefficients
        of these, shape (n_kinds, n_rows, 4).
    gaussians
        Radial functions of the density.
    weights
        W of the second formula of `learned`, symmetric, shape (n_elements, 3, n_channels, n_channels).
    """

    cutoff: float
    spacing: float
    curves: Floats
    gaussians: Gaussians
    weights: Floats


class Seen(NamedTuple):
    """What an atom sees: of each neighbour the direction, the distance (A), and its place in `Around`.

    Of those within reach of the density also its Gaussians, their derivatives, and its spherical harmonics.
    """

    unit: Floats
    distance: Floats
    place: Integers
    part: Floats
    fall: Floats
    each: Floats


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled when it is first called, and kept for other processes where there is a place for it."""
    try:
        found: Callable[..., Any] = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # no directory that can be written
        found = numba.njit(error_model="numpy")(function)
    return found


@compiled
def radial(distance: float, gaussians: Gaussians, values: Floats, slopes: Floats) -> None:
    """Gaussians at a distance below their cutoff, to which a cosine takes them to zero, and their derivatives.

    Each is the one before it times a power.
    """
    width, first = gaussians.width, gaussians.centres[0]
    cosine = math.cos(distance * (math.pi / gaussians.cutoff))
    switch, fall = 0.5 + 0.5 * cosine, 0.5 * math.pi / gaussians.cutoff * math.sqrt(1 - cosine * cosine)
    offset, step = (distance - first) / width, (gaussians.centres[1] - first) / width
    gauss, power = math.exp(-0.5 * offset * offset), math.exp(step * offset)
    factor = math.exp(-0.5 * step * step)
    ratio = factor * factor
    for index in range(len(values)):
        values[index] = gauss * switch
        slopes[index] = -gauss * fall - values[index] * ((offset - index * step) / width)
        gauss *= power * factor
        factor *= ratio


@compiled
def harmonics(unit: Floats, values: Floats) -> None:
    """Real spherical harmonics for l = 0, 1, 2 (Racah's normalisation) of a unit vector."""
    x, y, z = unit[0], unit[1], unit[2]
    values[0], values[1], values[2], values[3] = 1.0, x, y, z
    values[4], values[5], values[6] = ROOT_3 * x * y, ROOT_3 * y * z, ROOT_3 * x * z
    values[7], values[8] = 1.5 * z * z - 0.5, 0.5 * ROOT_3 * (x * x - y * y)


@compiled
def slope_of_harmonics(weights: Floats, unit: Floats, distance: float, slope: Floats) -> None:
    """Gradient of the sum of the nine harmonics, each times its weight (held), with respect to the vector."""
    x, y, z = unit[0], unit[1], unit[2]
    xy, yz, xz, zz, xx = ROOT_3 * weights[4], ROOT_3 * weights[5], ROOT_3 * weights[6], weights[7], ROOT_3 * weights[8]
    slope[0] = weights[1] + xy * y + xz * z + xx * x
    slope[1] = weights[2] + xy * x + yz * z - xx * y
    slope[2] = weights[3] + yz * y + xz * x + 3 * zz * z
    along = slope[0] * x + slope[1] * y + slope[2] * z
    for k in range(3):
        slope[k] = (slope[k] - along * unit[k]) / distance


@compiled
def nothing_seen(around: Around, n_radial: int) -> Seen:
    """Room for what any atom sees."""
    most = 1
    for atom in range(len(around.element)):
        most = max(most, around.start[atom + 1] - around.start[atom] + 1)
    radials = (most, n_radial)
    return Seen(
        np.empty((most, 3)), np.empty(most), np.empty(most, np.int64),
        np.empty(radials), np.empty(radials), np.empty((most, ANGULAR)),
    )  # fmt: skip


@compiled
def look(position: Floats, around: Around, atom: int, cutoff: float, seen: Seen) -> int:
    """See the neighbours of an atom within a cutoff; how many they are."""
    found = 0
    for place in range(around.start[atom], around.start[atom + 1]):
        square = 0.0
        for k in range(3):
            seen.unit[found, k] = position[around.other[place], k] - position[atom, k] + around.shift[place, k]
            square += seen.unit[found, k] * seen.unit[found, k]
        if square < cutoff * cutoff:
            seen.distance[found], seen.place[found] = math.sqrt(square), place
            for k in range(3):
                seen.unit[found, k] /= seen.distance[found]
            found += 1
    return found


@compiled
def gather(around: Around, found: int, gaussians: Gaussians, seen: Seen, density: Floats) -> None:
    """The density around an atom, shape (n_channels, 9): A of the second formula of `learned`."""
    density[:] = 0.0
    n_radial = len(gaussians.centres)
    for near in range(found):
        if seen.distance[near] < gaussians.cutoff:
            radial(seen.distance[near], gaussians, seen.part[near], seen.fall[near])
            harmonics(seen.unit[near], seen.each[near])
            first = around.element[around.other[seen.place[near]]] * n_radial
            for a in range(n_radial):
                for m in range(ANGULAR):
                    density[first + a, m] += seen.part[near, a] * seen.each[near, m]


@compiled
def weigh(weights: Floats, density: Floats, pull: Floats) -> float:
    """Fill `pull` with the density times its weights, shape (3, n_channels, n_channels); their product, an energy."""
    energy = 0.0
    pull[:] = 0.0
    for degree in range(3):
        for a in range(len(density)):
            for b in range(len(density)):
                for m in range(FIRST_OF_DEGREE[degree], FIRST_OF_DEGREE[degree + 1]):
                    pull[a, m] += weights[degree, a, b] * density[b, m]
    for a in range(len(density)):
        for m in range(ANGULAR):
            energy += density[a, m] * pull[a, m]
    return energy


@compiled
def energy_and_forces(position: Floats, around: Around, learnt: Learnt, forces: Floats) -> float:
    """Energy of one configuration, eV; its `forces`, eV/A, are added to an array of zeros, shape (n_atoms, 3).

    `position` has the same shape, A.
    """
    spacing, gaussians, weights = learnt.spacing, learnt.gaussians, learnt.weights
    n_radial, seen = len(gaussians.centres), nothing_seen(around, len(gaussians.centres))
    density, pull = np.empty((weights.shape[2], ANGULAR)), np.empty((weights.shape[2], ANGULAR))
    turning, slope = np.empty(ANGULAR), np.empty(3)
    energy = 0.0
    for atom in range(len(position)):
        found = look(position, around, atom, learnt.cutoff, seen)
        gather(around, found, gaussians, seen, density)
        energy += weigh(weights[around.element[atom]], density, pull)
        for near in range(found):
            distance, neighbour = seen.distance[near], around.other[seen.place[near]]
            row = int(distance / spacing)
            x = distance / spacing - row
            cubic = learnt.curves[around.kind[seen.place[near]], row]
            energy += 0.5 * (
                ((cubic[3] * x + cubic[2]) * x + cubic[1]) * x + cubic[0]
            )  # its other half: the other atom
            rise = ((3 * cubic[3] * x + 2 * cubic[2]) * x + cubic[1]) / spacing
            for k in range(3):
                forces[atom, k] += rise * seen.unit[near, k]
            if distance >= gaussians.cutoff:
                continue
            first, along = around.element[neighbour] * n_radial, 0.0
            turning[:] = 0.0
            for a in range(n_radial):
                for m in range(ANGULAR):
                    along += pull[first + a, m] * seen.each[near, m] * seen.fall[near, a]
                    turning[m] += pull[first + a, m] * seen.part[near, a]
            slope_of_harmonics(turning, seen.unit[near], distance, slope)
            for k in range(3):
                gradient = 2 * (along * seen.unit[near, k] + slope[k])
                forces[atom, k] += gradient
                forces[neighbour, k] -= gradient
    return energy


@compiled
def pair_features(position: Floats, around: Around, gaussians: Gaussians, sums: Floats, gradients: Floats) -> None:
    """Add the Gaussians of the distances of all pairs to `sums`, shape (n_kinds, n_gaussians), and their `gradients`.

    These have shape (n_atoms, 3, n_kinds, n_gaussians).
    """
    n_radial = len(gaussians.centres)
    seen, value, rise = nothing_seen(around, n_radial), np.empty(n_radial), np.empty(n_radial)
    for atom in range(len(position)):
        for near in range(look(position, around, atom, gaussians.cutoff, seen)):
            radial(seen.distance[near], gaussians, value, rise)
            kind = around.kind[seen.place[near]]
            for a in range(n_radial):
                sums[kind, a] += 0.5 * value[a]
                for k in range(3):
                    gradients[atom, k, kind, a] -= rise[a] * seen.unit[near, k]


@compiled
def triplet_features(position: Floats, around: Around, gaussians: Gaussians, sums: Floats, gradients: Floats) -> None:
    """Add the products of all densities to `sums`, by the element of the atom, degree and pair of channels.

    Those of two channels count twice. `sums` has shape (n_elements, 3, n_pairs of channels), `gradients`, which are
    filled likewise, (n_atoms, 3, n_elements, 3, n_pairs of channels).
    """
    n_radial = len(gaussians.centres)
    n_channels = sums.shape[0] * n_radial
    seen, density = nothing_seen(around, n_radial), np.empty((n_channels, ANGULAR))
    slope, one = np.empty((ANGULAR, 3)), np.zeros(ANGULAR)
    for atom in range(len(position)):
        found, mine = look(position, around, atom, gaussians.cutoff, seen), around.element[atom]
        gather(around, found, gaussians, seen, density)
        for degree in range(3):
            column = 0
            for a in range(n_channels):
                for b in range(a, n_channels):
                    for m in range(FIRST_OF_DEGREE[degree], FIRST_OF_DEGREE[degree + 1]):
                        sums[mine, degree, column] += (1 if a == b else 2) * density[a, m] * density[b, m]
                    column += 1
        for near in range(found):
            neighbour, unit = around.other[seen.place[near]], seen.unit[near]
            for m in range(ANGULAR):
                one[m] = 1.0
                slope_of_harmonics(one, unit, seen.distance[near], slope[m])
                one[m] = 0.0
            for a in range(n_radial):
                mixed = around.element[neighbour] * n_radial + a
                for degree in range(3):
                    for b in range(n_channels):
                        lower, upper = min(mixed, b), max(mixed, b)
                        column = lower * n_channels - lower * (lower + 1) // 2 + upper
                        for k in range(3):
                            change = 0.0
                            for m in range(FIRST_OF_DEGREE[degree], FIRST_OF_DEGREE[degree + 1]):
                                turned = (
                                    seen.fall[near, a] * seen.each[near, m] * unit[k] + seen.part[near, a] * slope[m, k]
                                )
                                change += turned * density[b, m]
                            gradients[neighbour, k, mine, degree, column] += 2 * change
                            gradients[atom, k, mine, degree, column] -= 2 * change
