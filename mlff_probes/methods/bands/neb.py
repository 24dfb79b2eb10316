"""Forces of a nudged elastic band, in ASE's convention, and the engine that follows them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRE_FIRST_STEP, FIRE_LARGEST_STEP, FIRE_MIXING, FIRE_PATIENCE = 0.1, 1.0, 0.1, 5
FIRE_FASTER, FIRE_SLOWER, FIRE_LESS_MIXING, LONGEST_MOVE = 1.1, 0.5, 0.99, 0.2
"""E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006); ASE's values, and no more than 0.2 A of the band at once."""


def band_forces(band: Floats, energies: Floats, forces: Floats, spring: float, *, climb: bool) -> Floats:
    """Forces of the nudged elastic band on its inner images.

    The true force without its part along the tangent, plus ``spring (|R_i+1 - R_i| - |R_i - R_i-1|)`` along it;
    on the highest image, if it climbs, the true force with that part turned round. Tangent: G. Henkelman and
    H. Jonsson, J. Chem. Phys. 113, 9978 (2000); climbing: G. Henkelman, B. P. Uberuaga and H. Jonsson, ibid. 9901.

    Parameters
    ----------
    band
        Shape (n_images, 3 n_atoms), unwrapped, A.
    energies
        Shape (n_images,), eV.
    forces
        Of the inner images, shape (n_images - 2, 3 n_atoms), eV/A.
    spring
        eV/A^2.
    """
    result = np.empty_like(forces)
    highest = highest_inner(energies)
    for image in range(1, len(band) - 1):
        along = tangent(band, energies, image)
        force = forces[image - 1]
        pull = float(force @ along)
        before, after = np.linalg.norm(band[image] - band[image - 1]), np.linalg.norm(band[image + 1] - band[image])
        own = -pull if climb and image == highest else spring * float(after - before)
        result[image - 1] = force + (own - pull) * along
    return result


def highest_inner(energies: Floats) -> int:
    """Index of the highest image that is not an end."""
    return 1 + int(np.argmax(energies[1:-1]))


def tangent(band: Floats, energies: Floats, image: int) -> Floats:
    """Improved tangent at `image`, of length 1: towards the higher neighbour, or a mean of both at an extremum."""
    ahead, behind = band[image + 1] - band[image], band[image] - band[image - 1]
    before, here, after = (float(energy) for energy in energies[image - 1 : image + 2])
    if after > here > before:
        along = ahead
    elif after < here < before:
        along = behind
    else:
        small, large = sorted([abs(after - here), abs(before - here)])
        along = ahead * large + behind * small if after > before else ahead * small + behind * large
    length = float(np.linalg.norm(along))
    # energies that are all the same leave no weights
    unit: Floats = along / length if length > 0 else (ahead + behind) / np.linalg.norm(ahead + behind)
    return unit


def largest_force(forces: Floats) -> float:
    """Length of the largest force on any atom, 0 for none; the last axis runs over the 3 n_atoms components."""
    return float(np.sqrt((forces.reshape(-1, 3) ** 2).sum(axis=1)).max(initial=0.0))


class Fire:
    """Fast inertial relaxation engine for everything that moves at once."""

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
