"""A band of images brought to rest with few model calls: moved on a learned potential, judged on the true one.

What was evaluated is never thrown away, but teaches a potential (`mlff_probes.methods.bands.learned`) on which the
band is relaxed before the next evaluation: the all-images-evaluated algorithm of O.-P. Koistinen et al., J. Chem. Phys.
147, 152720 (2017). Three phases follow each other:

- *band*: all inner images of a plain nudged elastic band, evaluated together;
- *climb*: the highest image alone, by following the softest mode. With the usual climbing image the band round it
  slides while it climbs, and on a soft saddle it runs away;
- *settle*: the other images, the saddle held, until the whole band is at rest under the forces of the climbing-image
  band. A higher image sends it back to *climb*.

Energies and forces are always those of true calls at the positions that are handed out. Where constraints hold atoms,
the learned potential is shown all forces, but only their free part moves the band and is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.methods.bands.learned import LearnedPotential
from mlff_probes.methods.bands.neb import Fire, band_forces, highest_inner, largest_force, tangent
from mlff_probes.methods.bands.saddle import FIRST_TURNS, NEAR_EV_A, climb, softest_mode
from mlff_probes.methods.constraints import Freedom

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Phase = Literal["band", "climb", "settle"]

REACH, LEAST_REACH = 0.5, 0.1
"""How far, in A (norm over all atoms), an image may be from the nearest evaluated point; first (and largest), and
smallest."""

REACH_OF_LENGTH = 0.4
"""No farther than this fraction of the length over which the learned potential varies."""

WIDEN, NARROW = 1.3, 0.6
"""Factors on the reach after an evaluation that lowered the largest force, and after one that did not."""

BACK_TO_BEST = 1.2
"""A band whose largest force is this many times that of the best so far is given up for that one."""

MODEL_STEPS = 400
"""Steps on the learned potential between two evaluations, at most."""

HELD_STEPS = 60
"""Steps in which an image was held at its reach before the band is evaluated."""

STANDSTILL, PLAIN_STEP = 0.02, 0.05
"""A band that moves on the learned potential by less than this times its largest force, A^2/eV, which is less than a
stiff bond would give, takes a step of so much times its true forces instead."""

CLIMB_BELOW = 2.0
"""The highest image climbs once the largest force of the plain band is this many times its target: the saddle is
near enough, and the settling after it serves the other images as well."""

SECOND_MODE, PUSH, PUSHES = -0.05, 0.15, 1
"""A saddle with a second mode of lower curvature (eV/A^2) is left along it, by so much (A), so often at most."""


@dataclass(frozen=True)
class Step:
    """A band all of whose images have been evaluated where they are.

    Attributes
    ----------
    positions
        Shape (n_images, n_atoms, 3), unwrapped, A.
    energies
        Shape (n_images,), the ends included, eV.
    band_forces
        Of the climbing-image band on the inner images, shape (n_images - 2, n_atoms, 3), eV/A.
    saddle_fmax
        Largest true force on an atom of the highest inner image, eV/A.
    at_rest
        Whether the band has converged.
    """

    positions: Floats
    energies: Floats
    band_forces: Floats
    saddle_fmax: float
    at_rest: bool

    @property
    def fmax(self) -> float:
        """Largest force of the climbing-image band on an atom, as ASE defines it, eV/A."""
        return largest_force(self.band_forces)

    @property
    def barrier(self) -> float:
        """Energy of the highest image above the first, eV."""
        return float(self.energies.max() - self.energies[0])


class BandOptimizer:
    """Proposes which images to evaluate next, and where, from all true energies and forces so far.

    Parameters
    ----------
    atoms
        Elements, cell, periodicity and constraints, which hold in all images.
    positions
        The first band, ends included, shape (n_images, n_atoms, 3), unwrapped: no atom jumps by a cell vector.
    end_energies, end_forces
        Of the two ends, eV and eV/A.
    fmax, saddle_fmax
        Largest force of the band, and on the highest image, at rest, eV/A.
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
        fmax: float,
        saddle_fmax: float,
        spring: float,
    ) -> None:
        self.shape = positions.shape
        self.band = positions.reshape(len(positions), -1).astype(float)
        self.energies = np.full(len(positions), np.nan)
        self.energies[[0, -1]] = end_energies
        self.freedom = Freedom.of(atoms)
        self.forces = np.full_like(self.band, np.nan)
        self.fmax, self.saddle_fmax, self.spring = fmax, saddle_fmax, spring
        self.points: list[Floats] = []
        self.point_energies: list[float] = []
        self.point_forces: list[Floats] = []
        self._remember([0, len(positions) - 1], end_forces)
        self.model = LearnedPotential(atoms, self.band)
        self.moved = list(range(1, len(positions) - 1))
        self.saddle = 0
        self.up: Floats = np.zeros(0)
        self.pushes = 0
        self._begin("band")

    def take(self, energies: Floats, forces: Floats) -> Step:
        """Take up what the model gives for the images now proposed (`moved`), in their order."""
        self.energies[self.moved] = energies
        self._remember(self.moved, forces)
        pull = band_forces(self.band, self.energies, self.forces[1:-1], self.spring, climb=True)
        highest = highest_inner(self.energies)
        at_saddle = largest_force(self.forces[highest])
        at_rest = largest_force(pull) <= self.fmax and at_saddle <= self.saddle_fmax
        shape = (-1, *self.shape[1:])
        band, energies = self.band.reshape(shape).copy(), self.energies.copy()
        if at_rest and self.phase != "settle":
            at_rest = not self._leave_ridge(highest)
        elif not at_rest:
            self._judge()
            self._change_phase()
        return Step(band, energies, pull.reshape(shape), at_saddle, at_rest)

    def propose(self) -> Floats:
        """The next band, shape (n_images, n_atoms, 3), of which the images `moved` are to be evaluated."""
        self._fit()
        before = self.band.copy()
        if self.phase == "climb":
            self.moved = [self.saddle]
            self._climb_on_model()
        else:
            self.moved = [i for i in range(1, len(self.band) - 1) if self.phase == "band" or i != self.saddle]
            self._relax_on_model()
        if np.abs(self.band - before).max() < STANDSTILL * self._largest():
            self._step_without_model()
        return self.band.reshape(self.shape).copy()

    def _remember(self, images: list[int], forces: Floats) -> None:
        """Keep all `forces` on some images for the learned potential, and their free part for the band."""
        lessons = forces.reshape(len(images), -1)
        self.forces[images] = self.freedom.part(lessons)
        self.points += [self.band[image].copy() for image in images]
        self.point_energies += [float(self.energies[image]) for image in images]
        self.point_forces += [force.copy() for force in lessons]

    def _largest(self) -> float:
        """What the present phase makes small."""
        if self.phase == "climb":
            before, here, after = self.energies[self.saddle - 1 : self.saddle + 2]
            # below both neighbours it is on its way to a minimum
            return largest_force(self.forces[self.saddle]) if here > min(before, after) else np.inf
        pull = band_forces(self.band, self.energies, self.forces[1:-1], self.spring, climb=False)
        return largest_force(np.delete(pull, self.saddle - 1, axis=0) if self.phase == "settle" else pull)

    def _begin(self, phase: Phase) -> None:
        self.phase: Phase = phase
        self.reach = REACH
        self.best = np.inf if phase == "band" else self._largest()
        self.kept = (self.band.copy(), self.energies.copy(), self.forces.copy())
        self.tolerance = 0.5 * self._target

    @property
    def _target(self) -> float:
        return self.saddle_fmax if self.phase == "climb" else self.fmax

    def _judge(self) -> None:
        """Widen or narrow the reach, and choose the band to go on from."""
        largest = self._largest()
        if largest < self.best or self._still_climbing(largest):
            self.reach = min(REACH, self.reach * WIDEN)
            self.best, self.kept = largest, (self.band.copy(), self.energies.copy(), self.forces.copy())
        else:
            self.reach = max(LEAST_REACH, self.reach * NARROW)
            if largest > BACK_TO_BEST * self.best:
                band, energies, forces = self.kept
                self.band, self.energies, self.forces = band.copy(), energies.copy(), forces.copy()
        self.tolerance = min(0.5 * self._target, max(0.2 * largest, 0.1 * self._target))

    def _still_climbing(self, largest: float) -> bool:
        """Whether the climber has gained height where its force may well grow on the way up."""
        higher = self.energies[self.saddle] > self.kept[1][self.saddle]
        return self.phase == "climb" and bool(higher) and NEAR_EV_A < largest < np.inf

    def _change_phase(self) -> None:
        highest = highest_inner(self.energies)
        if self.phase == "band" and self._largest() <= CLIMB_BELOW * self.fmax:
            self._climb_from(highest)
        elif self.phase == "climb" and self._largest() <= self.saddle_fmax and not self._leave_ridge(self.saddle):
            self._begin("settle")
        elif self.phase == "settle" and self._largest() <= self.fmax and highest != self.saddle:
            self._climb_from(highest)

    def _climb_from(self, image: int) -> None:
        self.saddle, self.up = image, tangent(self.band, self.energies, image)
        self._begin("climb")

    def _leave_ridge(self, image: int) -> bool:
        """If `image`, at rest, has a second mode to fall along, go on from a point farther along it."""
        if self.pushes == PUSHES or self.freedom.directions(self.shape[1]) < 2:
            return False
        self._fit()
        point, draw = self.band[image], np.random.default_rng(0).standard_normal(self.band.shape[1])
        draw = self.freedom.part(draw)
        along = tangent(self.band, self.energies, image)
        mode, _ = softest_mode(self._model_forces, point, along, FIRST_TURNS)
        second, curvature = softest_mode(self._model_forces, point, draw, 2 * FIRST_TURNS, without=mode)
        if curvature > SECOND_MODE:
            return False
        self.pushes += 1
        self._climb_from(image)
        self.best = np.inf  # nothing is to lead back to the ridge
        self.band[image] = point + PUSH * second
        return True

    def _fit(self) -> None:
        points, energies, forces = (np.array(of) for of in (self.points, self.point_energies, self.point_forces))
        self.model.fit(points, energies, forces)

    def _model_forces(self, points: Floats) -> Floats:
        return self.model.predict(points)[1]

    def _limit(self, images: Floats) -> Floats:
        """How far each of `images` may go from the nearest point, A."""
        reach = min(self.reach, REACH_OF_LENGTH * self.model.residual.length)
        return np.maximum(reach, _nearest(images, np.array(self.points)))

    def _near(self, images: Floats, limit: Floats) -> NDArray[np.bool_]:
        return _nearest(images, np.array(self.points)) <= limit

    def _climb_on_model(self) -> None:
        start = self.band[self.saddle]
        limit = self._limit(start[None])
        self.band[self.saddle] = climb(
            self._model_forces, start, self.up, fmax=self.tolerance, steps=MODEL_STEPS,
            near=lambda point: bool(self._near(point[None], limit)[0]),
        )  # fmt: skip

    def _step_without_model(self) -> None:
        """One step along the true forces, where the learned potential would stay although they are large."""
        pull = band_forces(self.band, self.energies, self.forces[1:-1], self.spring, climb=self.phase == "climb")
        move = PLAIN_STEP * pull[[image - 1 for image in self.moved]]
        self.band[self.moved] += move * min(1.0, LEAST_REACH / max(float(np.linalg.norm(move)), 1e-12))

    def _relax_on_model(self) -> None:
        """FIRE on the learned potential; images at their reach are held."""
        band, moved = self.band, self.moved
        fire = Fire(band[moved].shape)
        limit = self._limit(band[moved])
        energies, forces = self.energies.copy(), self.forces.copy()
        held_steps = 0
        for _ in range(MODEL_STEPS):
            energies[moved], forces[moved] = self.model.predict(band[moved])
            pull = band_forces(band, energies, forces[1:-1], self.spring, climb=False)[[i - 1 for i in moved]]
            if largest_force(pull) < self.tolerance:
                break
            move = fire.move(pull)
            held = ~self._near(band[moved] + move, limit)
            move[held] = 0.0
            fire.velocity[held] = 0.0
            band[moved] += move
            held_steps += bool(held.any())
            if held_steps > HELD_STEPS:
                break


def _nearest(images: Floats, points: Floats) -> Floats:
    """Distance of each image from the nearest point, A."""
    distances: Floats = np.linalg.norm(images[:, None] - points[None], axis=-1).min(axis=1)
    return distances
