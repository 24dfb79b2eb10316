"""The way from a band's highest image to the saddle, on a potential that costs nothing.

Up along the softest mode and down along all others: G. Henkelman and H. Jonsson, J. Chem. Phys. 111, 7010 (1999).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlff_probes.methods.bands.neb import Fire, largest_force

Floats = NDArray[np.float64]
Forces = Callable[[Floats], Floats]
"""Positions, shape (n, 3 n_atoms), to forces of the same shape."""

DIFFERENCE = 0.01
"""Displacement, in A over all atoms, of the central differences that give a curvature."""

FIRST_TURNS, TURNS = 15, 2
"""How often the mode is turned towards the softest one, at first and in each step."""

NEAR_EV_A = 0.2
"""Largest force on an atom near a saddle."""

MODE_AT_REST = 1e-3
"""A mode with less than this of H n outside n, eV/A^2, is not turned further."""


def softest_mode(
    forces: Forces, point: Floats, guess: Floats, turns: int, without: Floats | None = None
) -> tuple[Floats, float]:
    """The direction of lowest curvature near `guess`, of length 1, and its curvature in eV/A^2.

    Rayleigh-Ritz in the plane of the mode and the change that would turn it most, `turns` times.

    Parameters
    ----------
    without
        A direction to stay orthogonal to.
    """

    def curve(mode: Floats) -> Floats:
        ahead, behind = forces(np.stack([point + DIFFERENCE * mode, point - DIFFERENCE * mode]))
        return _outside(without, (behind - ahead) / (2 * DIFFERENCE))

    mode = _unit(_outside(without, guess))
    bent = curve(mode)
    for _ in range(turns):
        rest = bent - (mode @ bent) * mode
        size = float(np.linalg.norm(rest))
        if size < MODE_AT_REST:
            break
        other = rest / size
        other_bent = curve(other)
        cross = 0.5 * (mode @ other_bent + other @ bent)
        _, turned = np.linalg.eigh([[mode @ bent, cross], [cross, other @ other_bent]])
        mode, bent = turned[:, 0] @ np.stack([mode, other]), turned[:, 0] @ np.stack([bent, other_bent])
        mode, bent = mode / np.linalg.norm(mode), bent / np.linalg.norm(mode)
    return mode, float(mode @ bent)


def climb(
    forces: Forces, start: Floats, tangent: Floats, *, fmax: float, steps: int, near: Callable[[Floats], bool]
) -> Floats:
    """From `start` towards the saddle.

    Far from it, where an atom feels more than `NEAR_EV_A`, up along the band's `tangent`, as a climbing image: the
    softest mode there may be any other. Near it, up along the softest mode. Stops where no atom feels more than
    `fmax` (eV/A), after `steps` steps, or before the first point that is not `near`.
    """
    point, mode = start.copy(), tangent
    fire, turns = Fire(start.shape), FIRST_TURNS
    for _ in range(steps):
        force = forces(point[None])[0]
        if largest_force(force) > NEAR_EV_A:
            move = fire.move(force - 2 * float(force @ tangent) * tangent)
        else:
            mode, curvature = softest_mode(forces, point, mode, turns)
            turns = TURNS
            if curvature < 0 and largest_force(force) < fmax:
                break
            along = float(force @ mode) * mode
            move = fire.move(force - 2 * along if curvature < 0 else -along)
        if not near(point + move):
            break
        point = point + move
    return point


def _outside(without: Floats | None, vector: Floats) -> Floats:
    return vector if without is None else vector - (without @ vector) * without


def _unit(vector: Floats) -> Floats:
    return vector / np.linalg.norm(vector)
