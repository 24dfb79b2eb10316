"""What is a minimum and what only rests: curvatures of known surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixCartesian

from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.evaluation import Calls
from mlff_probes.methods.bands.rest import SADDLE_EV_A2, lowest_curvature


class Quadratic(Calculator):
    """Energy of the first atom displaced from (4, 4, 4) A by d in x and y: half d H d, and a cubic term."""

    implemented_properties = ("energy", "forces")

    def __init__(self, hessian, cubic=0.0):
        super().__init__()
        self.hessian, self.cubic = np.array(hessian), cubic

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        d = atoms.positions[0, :2] - 4
        forces = np.zeros((len(atoms), 3))
        forces[0, :2] = -self.hessian @ d - 3 * self.cubic * d**2
        self.results = {"energy": d @ self.hessian @ d / 2 + self.cubic * (d**3).sum(), "forces": forces}


def turned(values, degrees):
    """A Hessian with these eigenvalues, the first eigenvector `degrees` from x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    axes = np.array([[c, -s], [s, c]])
    return axes @ np.diag(values) @ axes.T


def curvature(hessian, direction=(1.0, 0.0, 0.0), constraint=None, **more):
    atoms = Atoms("LiO", positions=[[4, 4, 4], [1, 1, 1]], cell=[8, 8, 8], pbc=True, constraint=constraint)
    calls = Calls()
    found = lowest_curvature(
        as_calculator(Quadratic(hessian, **more)), atoms, np.array([direction, (0, 0, 0)]), calls=calls
    )
    assert calls.calls <= 4
    return found


@pytest.mark.parametrize("values", [(-1.2, 20.0), (0.3, 20.0), (-0.2, 3.0)])
@pytest.mark.parametrize("degrees", [0, 15, 40])
def test_the_lowest_curvature_is_found_beside_the_direction_that_is_given(values, degrees):
    """At 40 degrees the curvature along x itself is that of a minimum, whatever the soft mode is."""
    assert curvature(turned(values, degrees)) == pytest.approx(values[0], abs=1e-6)


def test_a_lopsided_minimum_is_one():
    assert curvature(turned((1.0, 5.0), 20), cubic=4.0) > 0.9


def test_only_what_is_free_counts():
    downhill_in_y = np.diag([2.0, -3.0])
    assert curvature(downhill_in_y, (1.0, 0.2, 0.0)) < SADDLE_EV_A2
    assert curvature(downhill_in_y, (1.0, 0.2, 0.0), FixCartesian(0, (False, True, False))) == pytest.approx(2.0)
