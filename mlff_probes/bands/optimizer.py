"""A band of images brought to rest with few model calls: relaxed on a learned potential, judged on the true one.

All inner images are evaluated together; what was evaluated is never thrown away, but teaches a potential
(`mlff_probes.bands.learned`) on which the band is relaxed before the next evaluation: the all-images-evaluated
algorithm of O.-P. Koistinen et al., J. Chem. Phys. 147, 152720 (2017). Energies, forces and the verdict are
always those of true calls at the positions that are handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.bands.learned import LearnedPotential

Floats = NDArray[np.float64]
Evaluate = Callable[[Floats], tuple[Floats, Floats]]
"""Positions (n, n_atoms, 3) to energies (n,) and forces (n, n_atoms, 3)."""

SPRING = 0.1
"""Spring constant in eV/A^2."""

CLIMB_BELOW = 0.2
"""Largest force on the band without climbing, eV/A, from which on its highest image climbs: one that climbs on a
model that is still rough runs away."""

REACH, LEAST_REACH = 0.5, 0.1
"""How far, in A (norm over all atoms), an image may be from the nearest evaluated point; first (and largest), and
smallest."""

WIDEN, NARROW = 1.3, 0.6
"""Factors on the reach after an evaluation that lowered the largest force, and after one that did not."""

BACK_TO_BEST = 1.2
"""A band whose largest force is this many times that of the best so far is given up for that one."""

MODEL_STEPS = 400
"""Steps on the learned potential between two evaluations, at most."""

HELD_STEPS = 60
"""Steps in which an image was held at its reach before the band is evaluated."""

FIRE_FIRST_STEP, FIRE_LARGEST_STEP, FIRE_MIXING, FIRE_PATIENCE = 0.1, 1.0, 0.1, 5
FIRE_FASTER, FIRE_SLOWER, FIRE_LESS_MIXING, LONGEST_MOVE = 1.1, 0.5, 0.99, 0.2
"""E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006); ASE's values, and no more than 0.2 A of the band at once."""


@dataclass(frozen=True)
class Step:
    """A band whose inner images have all been evaluated.

    Attributes
    ----------
    positions
        Shape (n_images, n_atoms, 3), unwrapped, A.
    energies
        Shape (n_images,), the ends included, eV.
    forces
        True forces on the inner images, shape (n_images - 2, n_atoms, 3), eV/A.
    fmax
        Largest force of the climbing-image band on any atom of the inner images, as ASE defines it, eV/A.
    calls
        Model calls so far on inner images.
    """

    positions: Floats
    energies: Floats
    forces: Floats
    fmax: float
    calls: int

    @property
    def barrier(self) -> float:
        """Energy of the highest image above the first, eV."""
        return float(self.energies.max() - self.energies[0])


@dataclass
class History:
    """Configurations evaluated so far: rows of flattened positions, energies, flattened forces."""

    points: list[Floats] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    forces: list[Floats] = field(default_factory=list)

    def add(self, positions: Floats, energies: Floats, forces: Floats) -> None:
        """Take up `positions` (n, n_atoms, 3) with their energies and forces."""
        n = len(positions)
        self.points.extend(positions.reshape(n, -1))
        self.energies.extend(energies.tolist())
        self.forces.extend(forces.reshape(n, -1))


class BandOptimizer:
    """Proposes the next positions of the inner images from all true energies and forces so far.

    Parameters
    ----------
    atoms
        Elements, cell and periodicity.
    positions
        The first band, ends included, shape (n_images, n_atoms, 3), unwrapped: no atom jumps by a cell vector.
    end_energies, end_forces
        Of the two ends.
    fmax
        Target in eV/A.
    spring
        Spring constant in eV/A^2.
    """

    def __init__(
        self,
        atoms: Atoms,
        positions: Floats,
        end_energies: Floats,
        end_forces: Floats,
        *,
        fmax: float = 0.05,
        spring: float = SPRING,
    ) -> None:
        self.shape = positions.shape
        self.band = positions.reshape(len(positions), -1).astype(float)
        self.ends = np.asarray(end_energies, dtype=float)
        self.target, self.spring = fmax, spring
        self.history = History()
        self.history.add(positions[[0, -1]], self.ends, np.asarray(end_forces))
        self.model = LearnedPotential(atoms, self.band)
        self.reach, self.climbing, self.calls = REACH, False, 0
        self.best: tuple[float, Floats] = (np.inf, self.band)
        self.start, self.tolerance = self.band, 0.5 * fmax

    def learn(self, positions: Floats, energies: Floats, forces: Floats) -> None:
        """Take up configurations evaluated elsewhere, such as on the way to the relaxed ends."""
        self.history.add(positions, energies, forces)

    def take(self, energies: Floats, forces: Floats) -> Step:
        """Take up what the model gives for the inner images of the band now proposed."""
        inner = self.band[1:-1].reshape(-1, *self.shape[1:])
        self.history.add(inner, energies, forces)
        self.calls += len(inner)
        flat = forces.reshape(len(inner), -1)
        everything = np.concatenate([self.ends[:1], energies, self.ends[1:]])
        largest = largest_force(band_forces(self.band, everything, flat, self.spring, climb=True))
        still = largest_force(band_forces(self.band, everything, flat, self.spring, climb=False))
        self.climbing = self.climbing or still < CLIMB_BELOW
        step = Step(self.band.reshape(self.shape), everything, forces, largest, self.calls)
        self._judge(largest)
        return step

    def propose(self) -> Floats:
        """The inner images' next positions, shape (n_images - 2, n_atoms, 3)."""
        points = np.array(self.history.points)
        self.model.fit(points, np.array(self.history.energies), np.array(self.history.forces))
        self.band = self._relax_on_model(self.start, points)
        return self.band[1:-1].reshape(-1, *self.shape[1:])

    def _judge(self, largest: float) -> None:
        """Widen or narrow the reach, and choose the band to go on from."""
        self.start = self.band
        if largest < self.best[0]:
            self.reach = min(REACH, self.reach * WIDEN)
            self.best = (largest, self.band)
        else:
            self.reach = max(LEAST_REACH, self.reach * NARROW)
            if largest > BACK_TO_BEST * self.best[0]:
                self.start = self.best[1]
        self.tolerance = min(0.5 * self.target, max(0.2 * largest, 0.1 * self.target))

    def _relax_on_model(self, band: Floats, points: Floats) -> Floats:
        """FIRE on the learned potential; images at their reach are held."""
        band = band.copy()
        fire = Fire(band[1:-1].shape)
        limit = np.maximum(self.reach, _nearest(band[1:-1], points))
        held_steps = 0
        for _ in range(MODEL_STEPS):
            energies, forces = self.model.predict(band[1:-1])
            everything = np.concatenate([self.ends[:1], energies, self.ends[1:]])
            pull = band_forces(band, everything, forces, self.spring, climb=self.climbing)
            if largest_force(pull) < self.tolerance:
                break
            move = fire.move(pull)
            held = _nearest(band[1:-1] + move, points) > limit
            move[held] = 0.0
            fire.velocity[held] = 0.0
            band[1:-1] += move
            held_steps += bool(held.any())
            if held_steps > HELD_STEPS:
                break
        return band


class Fire:
    """Fast inertial relaxation engine for all images at once."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.velocity: Floats = np.zeros(shape)
        self.step, self.mixing, self.downhill = FIRE_FIRST_STEP, FIRE_MIXING, 0

    def move(self, forces: Floats) -> Floats:
        """The next displacement under `forces`."""
        if (forces * self.velocity).sum() > 0:
            speed = np.linalg.norm(self.velocity) / np.linalg.norm(forces)
            self.velocity = (1 - self.mixing) * self.velocity + self.mixing * speed * forces
            self.downhill += 1
            if self.downhill > FIRE_PATIENCE:
                self.step = min(self.step * FIRE_FASTER, FIRE_LARGEST_STEP)
                self.mixing *= FIRE_LESS_MIXING
        else:
            self.velocity = np.zeros_like(self.velocity)
            self.step, self.mixing, self.downhill = self.step * FIRE_SLOWER, FIRE_MIXING, 0
        self.velocity = self.velocity + self.step * forces
        displacement = self.step * self.velocity
        return displacement * min(1.0, LONGEST_MOVE / max(float(np.linalg.norm(displacement)), 1e-12))


def relax_band(evaluate: Evaluate, optimizer: BandOptimizer, *, max_calls: int) -> Iterator[Step]:
    """Evaluate and move the band until its largest force is at most the optimizer's target.

    Yields after every evaluation; the last step is the band as it was left, at rest or not. A caller that no
    longer wants to go on stops iterating.

    Parameters
    ----------
    evaluate
        Gives energies and forces of the inner images.
    optimizer
        Knows the first band and its ends.
    max_calls
        No evaluation is begun that would take the calls on inner images beyond this.
    """
    inner = optimizer.band[1:-1].reshape(-1, *optimizer.shape[1:])
    while optimizer.calls + len(inner) <= max_calls:
        step = optimizer.take(*evaluate(inner))
        yield step
        if step.fmax <= optimizer.target or optimizer.calls + len(inner) > max_calls:
            return
        inner = optimizer.propose()


def band_forces(band: Floats, energies: Floats, forces: Floats, spring: float, *, climb: bool) -> Floats:
    """Forces of the nudged elastic band on its inner images, in ASE's convention.

    The true force without its part along the tangent, plus ``spring (|R_i+1 - R_i| - |R_i - R_i-1|)`` along it;
    on the highest image, if it climbs, the true force with that part turned round. Tangent: G. Henkelman and
    H. Jonsson, J. Chem. Phys. 113, 9978 (2000); climbing: G. Henkelman, B. P. Uberuaga and H. Jonsson, ibid. 9901.

    Parameters
    ----------
    band
        Shape (n_images, 3 n_atoms), unwrapped.
    energies
        Shape (n_images,).
    forces
        Of the inner images, shape (n_images - 2, 3 n_atoms).
    """
    result = np.empty_like(forces)
    highest = 1 + int(np.argmax(energies[1:-1]))
    for image in range(1, len(band) - 1):
        ahead, behind = band[image + 1] - band[image], band[image] - band[image - 1]
        along = tangent(ahead, behind, float(energies[image + 1]), float(energies[image]), float(energies[image - 1]))
        force = forces[image - 1]
        pull = float(force @ along)
        stretch = float(np.linalg.norm(ahead) - np.linalg.norm(behind))
        own = -pull if climb and image == highest else spring * stretch
        result[image - 1] = force + (own - pull) * along
    return result


def tangent(ahead: Floats, behind: Floats, energy_ahead: float, energy: float, energy_behind: float) -> Floats:
    """Improved tangent, of length 1: towards the higher neighbour, or a mean of both at an extremum."""
    if energy_ahead > energy > energy_behind:
        along = ahead
    elif energy_ahead < energy < energy_behind:
        along = behind
    else:
        small, large = sorted([abs(energy_ahead - energy), abs(energy_behind - energy)])
        uphill = energy_ahead > energy_behind
        along = ahead * large + behind * small if uphill else ahead * small + behind * large
    length = float(np.linalg.norm(along))
    # energies that are all the same leave no weights
    return along / length if length > 0 else (ahead + behind) / np.linalg.norm(ahead + behind)


def largest_force(forces: Floats) -> float:
    """Length of the largest force on any atom of any image; shape (n, 3 n_atoms)."""
    return float(np.sqrt((forces.reshape(-1, 3) ** 2).sum(axis=1)).max())


def _nearest(images: Floats, points: Floats) -> Floats:
    """Distance of each image from the nearest point, A."""
    distances: Floats = np.linalg.norm(images[:, None] - points[None], axis=-1).min(axis=1)
    return distances
