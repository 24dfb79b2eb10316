"""The sound calculator obeys the laws, by central differences and against ASE's own neighbour list."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, neighborlist
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list
from ase.stress import voigt_6_to_full_3x3_stress
from sound import CUTOFF_A, ELEMENTS, WELLS, Sound

STEP = 1e-4
"""Displacement (A) and strain of a central difference."""


def mixed(seed: int = 3) -> Atoms:
    """All elements at random in a cell that leans far over, no two atoms closer than a bond."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(cell=[[7.0, 0.0, 0.0], [3.2, 6.0, 0.0], [12.0, 9.0, 6.5]], pbc=True)
    while len(atoms) < 2 * len(ELEMENTS):
        new = atoms + Atoms(ELEMENTS[len(atoms) % len(ELEMENTS)], scaled_positions=rng.random((1, 3)), cell=atoms.cell)
        if len(new) == 1 or new.get_distances(-1, range(len(atoms)), mic=True).min() > 2.2:
            atoms = new
    atoms.calc = Sound()
    return atoms


def difference(change) -> float:
    """Central difference of the energy along `change(step) -> Atoms`."""
    high, low = (Sound().evaluated(change(step))["energy"] for step in (STEP, -STEP))
    return (high - low) / (2 * STEP)


def test_forces_are_the_derivative_of_the_energy():
    atoms = mixed()
    for atom, axis in np.ndindex(len(atoms), 3):

        def moved(step, atom=atom, axis=axis):
            copy = atoms.copy()
            copy.positions[atom, axis] += step
            return copy

        assert atoms.get_forces()[atom, axis] == pytest.approx(-difference(moved), abs=1e-6)


def test_stress_is_the_derivative_of_the_energy_with_strain():
    atoms = mixed()
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
    for row, column in np.ndindex(3, 3):

        def strained(step, row=row, column=column):
            copy, strain = atoms.copy(), np.eye(3)
            strain[row, column] += step / 2
            strain[column, row] += step / 2
            copy.set_cell(copy.cell.array @ strain, scale_atoms=True)
            return copy

        assert stress[row, column] * atoms.get_volume() == pytest.approx(difference(strained), abs=1e-4)


@pytest.mark.parametrize("pbc", [True, False, (True, False, True)])
def test_the_pairs_are_those_of_ase(pbc):
    atoms = mixed()
    atoms.pbc = pbc
    atoms.positions += np.arange(len(atoms))[:, None] % 3 * atoms.cell[0] * atoms.pbc[0]  # not wrapped
    found, expected = Sound().pairs(atoms), neighbor_list("ijd", atoms, CUTOFF_A)
    rows = [np.array([i, j, d.round(6)]) for i, j, d in ((found.first, found.second, found.distances), expected)]
    ours, theirs = (row[:, np.lexsort(row)] for row in rows)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_energy_slope_and_curvature_vanish_at_the_cutoff():
    step = 1e-3
    energies, slopes = [], []
    for r in CUTOFF_A - step * np.arange(1, 4):
        results = Sound().evaluated(Atoms("Te2", [[0, 0, 0], [r, 0, 0]]))
        energies.append(results["energy"])
        slopes.append(results["forces"][0, 0])
    assert np.abs(energies).max() < 1e-9
    assert np.abs(slopes).max() < 1e-6
    assert np.abs(np.diff(slopes) / step).max() < 1e-3


def test_all_pairs_repel_at_short_distance_and_have_one_minimum():
    for one in ELEMENTS:
        for other in ELEMENTS:
            pull = [Sound().evaluated(Atoms([one, other], [[0, 0, 0], [r, 0, 0]]))["forces"][0, 0]
                    for r in np.arange(0.05, CUTOFF_A, 0.05)]  # fmt: skip
            assert pull[0] < 0
            assert (np.diff(np.sign(pull)) != 0).sum() == 1


def test_it_knows_the_wells_of_its_elements_alone():
    numbers = Atoms(ELEMENTS).numbers
    assert np.isfinite(WELLS[:, numbers[:, None], numbers]).all()
    assert np.isfinite(WELLS).sum() == WELLS.shape[0] * len(ELEMENTS) ** 2


def test_in_float32_it_is_the_same_but_for_rounding():
    atoms = mixed()
    single, double = (Sound(dtype).evaluated(atoms) for dtype in ("float32", "float64"))
    assert single["forces"].dtype == np.float32
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(single[name], double[name], rtol=1e-5, atol=1e-4)
        assert not np.array_equal(single[name], double[name])


@pytest.mark.parametrize(("name", "symbol", "a"), [("emt", "Cu", 3.6), ("lj", "Te", 4.4)])
def test_the_list_of_neighbours_lent_to_ase_gives_what_its_own_gives(name, symbol, a, monkeypatch):
    atoms = bulk(symbol, "fcc", a=a).repeat((2, 1, 3))
    atoms.rattle(0.2, seed=1)
    make = {"emt": EMT, "lj": lambda: LennardJones(sigma=3.0, rc=7.0, smooth=True)}[name]
    found = []
    for own in (False, True):
        if own:
            monkeypatch.setattr(f"ase.calculators.{name}.NeighborList", neighborlist.NeighborList)
        atoms.calc = make()
        found.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    for here, there in zip(*found, strict=True):
        assert here == pytest.approx(there, abs=1e-10)
